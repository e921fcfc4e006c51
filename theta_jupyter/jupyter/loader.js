/* The views: the labextension's, else the kernel's, once for a page. */
const page = (globalThis[Symbol.for('theta-jupyter.views')] ??= {});

const ask = model =>
  new Promise(done => {
    const id = Math.random();
    model.on('msg:custom', (reply, data) => {
      if (reply.id === id && data[0]) done(import(URL.createObjectURL(new Blob(data, { type: 'text/javascript' }))));
    });
    model.send({ id, method: 'bundle' });
  });

/** @param {{ model: any, el: Element }} view */
function render({ model, el }) {
  const key = model.get('_version');
  const own = !page[key] && ask(model);
  const get = (page[key] ??= () => own);
  const late = setTimeout(() => {
    el.innerHTML = model.get('_static');
    if (own) page[key] = null; // Others ask too.
  }, 1500);
  let end = () => clearTimeout(late);
  get().then(views => {
    page[key] ??= get;
    if (!end) return;
    end();
    end = views.render({ model, el });
  });
  return () => (end = end());
}

export default { render };
