//! The map: one character for each 2 MiB chunk, in lines, and in colours where `report` says so.
//!
//! Called by `report`; which character a chunk gets is decided by `hmmrt_examples::signs`.

use hmmrt_examples::SIGNS;

/// Chunks on a line.
const WIDTH: usize = 64;
/// Terminal colours, in the order of `SIGNS`.
const COLOURS: [&str; 5] = ["2", "32", "35", "36", "33"];

/// ". untouched   H host ...".
pub fn legend(colour: bool) -> String {
    SIGNS.map(|(sign, name)| format!("{} {name}", paint(sign, colour))).join("   ")
}

/// The signs in lines.
pub fn lines(signs: &str, colour: bool) -> Vec<String> {
    let signs: Vec<String> = signs.chars().map(|sign| paint(sign, colour)).collect();
    signs.chunks(WIDTH).map(|line| line.concat()).collect()
}

fn paint(sign: char, colour: bool) -> String {
    match SIGNS.iter().position(|known| known.0 == sign) {
        Some(kind) if colour => format!("\x1b[{}m{sign}\x1b[0m", COLOURS[kind]),
        _ => sign.to_string(),
    }
}
