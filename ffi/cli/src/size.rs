//! Numbers of bytes: read as the library's settings are, and shown.

/// Reads bytes, with K, M, G or T for powers of 1,024.
pub fn parse(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected bytes, such as 65536 or 64K";
    let digits = text.trim_end_matches(['K', 'k', 'M', 'm', 'G', 'g', 'T', 't']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(EXPECTED),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EXPECTED);
    }
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.filter(|n| *n <= i64::MAX as u64).ok_or("more bytes than there are addresses")
}

/// `1.5 GiB`, `512 B`.
pub fn show(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{parse, show};

    #[test]
    fn sizes_are_read_as_the_library_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64K", 65536),
            ("64k", 65536),
            ("1M", 1 << 20),
            ("2g", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "K", "64Q", "64KK", "64KiB", "-1", "+1", "1.5M", " 1", "9223372036854775808", "9999999999T"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        assert_eq!(
            [0, 1023, 1024, 1536, 1 << 20, 5 << 29, u64::MAX].map(show),
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB", "2.5 GiB", "16 EiB"]
        );
    }
}
