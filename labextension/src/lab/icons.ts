import { LabIcon } from '@jupyterlab/ui-components';

import checkpointSvg from '../../style/checkpoint.svg';
import thetaSvg from '../../style/theta.svg';

/** A theta, the usual name of a model's parameters. */
export const checkpointIcon = new LabIcon({ name: 'theta-jupyter:checkpoint', svgstr: checkpointSvg });

/** The same, in the colours of JupyterLab's own icons. */
export const thetaIcon = new LabIcon({ name: 'theta-jupyter:theta', svgstr: thetaSvg });
