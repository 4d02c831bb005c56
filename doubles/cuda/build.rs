//! Gives the double the driver's SONAME, so that a program which looks for a loaded driver finds it; and lets it find its
//! own functions, not those of a library that stands before it, when it looks them up for a program.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
}
