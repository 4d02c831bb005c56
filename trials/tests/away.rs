//! A launch whose parameters are themselves on a device.

#[test]
fn parameters_across_pages_that_are_away() {
    hmmrt_trials::across_pages();
}
