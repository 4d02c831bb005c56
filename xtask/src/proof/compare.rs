//! What differs between two runs: exit status, standard output, and the files in `out`, byte for byte.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::run::Ran;

/// None: nothing.
pub fn difference(plain: &Ran, with: &Ran) -> Option<String> {
    if plain.code != with.code || plain.code.is_none() {
        let why = with.complaints().first().map_or(String::new(), |said| format!(" ({said})"));
        return Some(format!("{}, plain: {}{why}", with.ended, plain.ended));
    }
    if plain.stdout != with.stdout {
        let mut lines = plain.stdout.lines().zip(with.stdout.lines()).enumerate();
        let first = lines.find(|(_, (a, b))| a != b);
        return Some(match first {
            Some((n, (a, b))) => format!("output line {}: {}, plain: {}", n + 1, short(b), short(a)),
            None => "output: one of them is longer".to_owned(),
        });
    }
    let (mine, others) = (with.dir.join("in/out"), plain.dir.join("in/out"));
    let files = |dir: &Path| {
        let mut found = BTreeSet::new();
        list(dir, Path::new(""), &mut found);
        found
    };
    let (here, there) = (files(&mine), files(&others));
    if let Some(file) = here.symmetric_difference(&there).next() {
        return Some(format!("out/{} is there only once", file.display()));
    }
    let file = here.iter().find(|file| !equal(&mine.join(file), &others.join(file)))?;
    Some(format!("out/{} is another", file.display()))
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

fn list(dir: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir.join(below)).into_iter().flatten().flatten() {
        let path = below.join(entry.file_name());
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            list(dir, &path, found);
        } else {
            found.insert(path);
        }
    }
}

/// Whether two files have the same bytes; not so when one can't be read.
fn equal(a: &Path, b: &Path) -> bool {
    let (Ok(mut a), Ok(mut b)) = (File::open(a), File::open(b)) else { return false };
    if a.metadata().map(|m| m.len()).ok() != b.metadata().map(|m| m.len()).ok() {
        return false;
    }
    let (mut x, mut y) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let Ok(n) = a.read(&mut x) else { return false };
        if n == 0 {
            return true;
        }
        if b.read_exact(&mut y[..n]).is_err() || x[..n] != y[..n] {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ran, difference};
    use std::fs;
    use std::path::PathBuf;

    fn ran(dir: PathBuf, stdout: &str, code: Option<i32>) -> Ran {
        let ended = format!("{code:?}");
        Ran {
            stdout: stdout.into(),
            stderr: String::new(),
            ended,
            code,
            seconds: 0.0,
            times: [0.0; 3],
            left: 0,
            dir,
        }
    }

    #[test]
    fn each_kind_of_difference_is_seen() {
        let dir = std::env::temp_dir().join(format!("hmmrt-proof-{}", std::process::id()));
        let (a, b) = (dir.join("a"), dir.join("b"));
        for d in [&a, &b] {
            fs::create_dir_all(d.join("in/out/deep")).unwrap();
            fs::write(d.join("in/out/deep/file"), vec![7; 100_000]).unwrap();
        }
        let plain = ran(a.clone(), "one\ntwo\n", Some(0));
        let with = |stdout, code| difference(&plain, &ran(b.clone(), stdout, code));
        assert_eq!(with("one\ntwo\n", Some(0)), None);
        assert!(with("one\ntwo\n", Some(1)).is_some());
        assert!(with("one\ntwo\n", None).is_some());
        assert!(with("one\ntwp\n", Some(0)).is_some_and(|d| d.contains("line 2")));
        assert!(with("one\ntwo\nthree\n", Some(0)).is_some());
        let mut other = vec![7; 100_000];
        other[99_999] = 8;
        fs::write(b.join("in/out/deep/file"), other).unwrap();
        assert!(with("one\ntwo\n", Some(0)).is_some_and(|d| d.contains("deep/file")));
        fs::remove_file(b.join("in/out/deep/file")).unwrap();
        assert!(with("one\ntwo\n", Some(0)).is_some());
        fs::remove_dir_all(dir).unwrap();
    }
}
