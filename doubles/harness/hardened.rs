//! What the loader makes of a file of ours: nothing that is written is executed, or the other way round. Included by the tests
//! of each library and of the command.

use std::path::Path;
use std::process::Command;

/// Checks it with readelf.
pub fn check(file: &Path) {
    let mut command = Command::new("readelf");
    command.args(["--file-header", "--program-headers", "--dynamic", "--wide"]).arg(file).env("LC_ALL", "C");
    let output = command.output().expect("readelf, of the linker's package");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let name = file.display();
    // Its type is a shared object's, a program's too: it may be anywhere.
    assert!(text.contains(" DYN ("), "{name} has addresses of its own:\n{text}");
    // TYPE, OFFSET, two addresses, two sizes, FLAGS, which may have spaces among them, ALIGNMENT.
    let segments = |kind: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.split_whitespace().next() == Some(kind));
        let flags = lines.map(|line| {
            let words: Vec<_> = line.split_whitespace().skip(6).collect();
            words[..words.len() - 1].concat()
        });
        flags.collect()
    };
    assert_eq!(segments("GNU_STACK"), ["RW"], "{name}'s stack is executable:\n{text}");
    assert_eq!(segments("GNU_RELRO"), ["R"], "{name}'s tables stay writable:\n{text}");
    let loads = segments("LOAD");
    assert!(loads.iter().any(|flags| flags == "RE") && loads.iter().any(|flags| flags == "RW"), "{loads:?}");
    assert!(!loads.iter().any(|flags| flags.contains('W') && flags.contains('E')), "{name}: {loads:?}");
    let dynamic = |word: &str| text.lines().any(|line| line.contains(&format!("({word})")));
    assert!(
        !dynamic("TEXTREL") && !text.contains(" TEXTREL"),
        "{name}'s code is changed when it is loaded:\n{text}"
    );
    // All functions are found at the start, so that their table need not be written later.
    let flags = text.lines().filter(|line| line.contains("(FLAGS")).collect::<String>();
    assert!(
        flags.contains("BIND_NOW") || flags.contains("NOW"),
        "{name} finds functions as they are called:\n{text}"
    );
    assert!(!dynamic("RPATH") && !dynamic("RUNPATH"), "{name} brings a search path along:\n{text}");
}
