//! Links this package's own tests and examples as the addon is linked: see `src/link_wrap.rs`.

fn main() {
    println!("cargo:rerun-if-changed=link-args.txt");
    println!("cargo:rerun-if-changed=link-args-x86_64.txt");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        let own = if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
            include_str!("link-args-x86_64.txt")
        } else {
            ""
        };
        for argument in include_str!("link-args.txt").lines().chain(own.lines()) {
            println!("cargo:rustc-link-arg={argument}");
        }
    }
}
