//! Gives libhmmrt_preload.so its SONAME and marks it `nodelete`: its functions are in use as long as the program runs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libhmmrt_preload.so.0");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
