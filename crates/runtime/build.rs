//! Links this package's own tests and examples as the addon is linked: see `src/link_wrap.rs`.

fn main() {
    println!("cargo:rerun-if-changed=link-args.txt");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        for argument in include_str!("link-args.txt").lines() {
            println!("cargo:rustc-link-arg={argument}");
        }
    }
}
