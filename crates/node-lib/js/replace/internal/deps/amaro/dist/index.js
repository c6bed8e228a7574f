'use strict';

// Stands in for the package amaro: same interface, with the transform in Rust. Enums, namespaces and parameter
// properties work in both modes.

const { transform } = internalBinding('typescript');

function transformSync(source, options) {
  const { mode, filename, sourceMap } = options ?? {};
  // Node's strip-only mode never moves a line and needs no map. What this one has to print anew does.
  const mayMove = sourceMap !== true && mode === 'strip-only' && !!filename;
  const { code, map, failure } = transform(`${source ?? ''}`, filename, sourceMap === true || mayMove);
  if (failure !== undefined) throw failure;
  if (map !== undefined && mayMove) mapStacks();
  return { __proto__: null, code, map };
}

// Has stacks name the lines of sources, as `--enable-source-maps` does.
function mapStacks() {
  const { getSourceMapsSupport, setSourceMapsSupport } = require('internal/source_map/source_map_cache');
  const { enabled, nodeModules, generatedCode } = getSourceMapsSupport();
  if (!enabled) setSourceMapsSupport(true, { __proto__: null, nodeModules, generatedCode });
}

module.exports = { transformSync };
