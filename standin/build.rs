//! The runtime's files see by this that they are over the stand-in; it has none of their features.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=hmmrt_standin");
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"cudarc\", \"cust\", \"hip-sys\", \"inject\"))");
}
