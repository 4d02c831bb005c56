//! Compiles the floors with the system's C compiler at -O2, whatever the Rust profile is: a floor must not get
//! slower in a debug build.

fn main() {
    println!("cargo:rerun-if-changed=c/floors.c");
    cc::Build::new()
        .file("c/floors.c")
        .opt_level(2)
        .flag("-std=gnu11")
        .flag("-pthread")
        .warnings(true)
        .warnings_into_errors(true)
        .compile("hmmrt_bench_floors");
}
