/**
 * What every session is made of: a store outside of React, whose snapshots the views draw.
 */
import { BackendError } from '../api/backend';

/** Where the shared part of a state lives as well: in the traits of a widget, say. */
export interface Link<Shared> {
  get(): Shared;
  set(part: Partial<Shared>): void;
  /** Calls back whenever something has been set, by whomever. */
  subscribe(changed: () => void): () => void;
}

export class Store<Snapshot extends object> {
  protected isDisposed = false;
  private readonly listeners = new Set<() => void>();

  constructor(protected snapshot: Snapshot) {}

  /** These two are what React's `useSyncExternalStore` wants. */
  readonly get = (): Snapshot => this.snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  dispose(): void {
    this.isDisposed = true;
    this.listeners.clear();
  }

  /** Snapshots are never changed: whenever something has, there is a new one. */
  protected put(part: Partial<Snapshot>): void {
    if (!this.isDisposed) {
      this.snapshot = { ...this.snapshot, ...part };
      this.listeners.forEach(listener => listener());
    }
  }
}

/** What went wrong, and what to do about it, for people. */
export interface Failure {
  message: string;
  hint: string;
}

export function failureOf(error: unknown): Failure {
  const { message, hint = '' } = error instanceof BackendError ? error : { message: String(error) };
  return { message, hint };
}

/** A request that has not been answered for so many milliseconds does not hold up the next one. */
export const PATIENCE = 5000;

export const wait = (delay: number): Promise<void> => new Promise(resolve => setTimeout(resolve, delay));
