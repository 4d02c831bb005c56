//! A broken invariant is a failure of the model.

pub(crate) fn fatal(text: &str, value: usize) -> ! {
    panic!("{text} ({value:#x})")
}
