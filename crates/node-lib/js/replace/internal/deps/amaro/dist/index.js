'use strict';

// Stands in for the package amaro: same interface, with the transform in Rust. Enums, namespaces and parameter
// properties work in both modes.

const { transform } = internalBinding('typescript');

function transformSync(source, options) {
  const { code, map, failure } = transform(`${source ?? ''}`, options?.filename, options?.sourceMap === true);
  if (failure !== undefined) throw failure;
  return { __proto__: null, code, map };
}

module.exports = { transformSync };
