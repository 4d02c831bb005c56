//! Gives libhmmrt.so its SONAME (a plain `cargo build` sets none) and marks it `nodelete`: signal handlers and threads of
//! the runtime must not be unmapped by `dlclose`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The ABI's number. It changes when a function or a struct of hmmrt.h changes its meaning, not with the version.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libhmmrt.so.0");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
