//! The environment variables `HMMRT_DOUBLE_*`, read once at the first use of the library. The table is in README.md.

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

/// Which hints for an address reservation are honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    /// Those for 256 GiB or more where nothing else is, as NVIDIA's driver does.
    Large,
    /// Also over somebody's mapping, which stays as it is.
    Over,
    /// None.
    None,
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many devices there are.
    pub devices: usize,
    /// Bytes of memory of each.
    pub memory: u64,
    /// Whether new memory is full of what is not zero.
    pub fill: bool,
    /// Bytes a second of copies by DMA in one direction; 0: as fast as it goes.
    pub bandwidth: u64,
    /// Added to each copy and launch.
    pub latency: Duration,
    /// Whether there is virtual memory management.
    pub vmm: bool,
    /// The driver's version, if set.
    pub version: Option<i32>,
    /// What init answers.
    pub init: i32,
    /// Honoured hints.
    pub hints: Hints,
    /// Whether kernels reach all of the program's memory.
    pub pageable: bool,
    /// Failures to inject from the start.
    pub fail: String,
}

/// The settings.
pub fn get() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| Settings {
        devices: number("DEVICES").unwrap_or(2).min(crate::device::MOST as u64) as usize,
        memory: number("MEMORY").unwrap_or(8 << 30),
        fill: number("FILL") != Some(0),
        bandwidth: number("BANDWIDTH").unwrap_or(0),
        latency: Duration::from_nanos(number("LATENCY").unwrap_or(0)),
        vmm: number("VMM") != Some(0),
        version: number("VERSION").map(|v| v as i32),
        init: number("INIT").unwrap_or(0) as i32,
        hints: match text("HINTS").as_deref() {
            Some("over") => Hints::Over,
            Some("none") => Hints::None,
            _ => Hints::Large,
        },
        pageable: number("PAGEABLE").is_some_and(|v| v != 0),
        fail: text("FAIL").unwrap_or_default(),
    })
}

fn text(name: &str) -> Option<String> {
    env::var(format!("HMMRT_DOUBLE_{name}")).ok().filter(|value| !value.is_empty())
}

/// A number, or a complaint: a test that runs with other settings than it thinks tests nothing.
fn number(name: &str) -> Option<u64> {
    let text = text(name)?;
    let value = parse(&text);
    if value.is_none() {
        eprintln!("driver double: HMMRT_DOUBLE_{name}={text} is no number");
    }
    value
}

/// Decimal, with a K, M, G or T of 1024.
fn parse(text: &str) -> Option<u64> {
    let unit = match text.chars().last()?.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => 0,
    };
    let digits = if unit == 0 { text } else { &text[..text.len() - 1] };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << unit)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_units() {
        assert_eq!(["0", "12", "3k", "2G", "1T"].map(parse), [0, 12, 3 << 10, 2 << 30, 1 << 40].map(Some));
        assert_eq!(["", "G", "1.5G", "-1", "99999999999999T"].map(parse), [None; 5]);
    }
}
