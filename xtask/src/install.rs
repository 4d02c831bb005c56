//! `cargo xtask install`: the C library as a distribution would lay it out.
//!
//! lib/libhmmrt.so.0.1.0 with its two links, lib/libhmmrt.a, include/hmmrt.h and hmmrt.hpp, lib/pkgconfig/hmmrt.pc.
//! Also called by `course` and `tour`, whose C programs are built against such a prefix.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// This workspace has one version; the library's file name carries it, its SONAME the first number.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The subcommand: builds, installs, says what it put where.
pub fn run(workspace: &Workspace, prefix: &Path, destdir: Option<&Path>) -> Result<()> {
    let prefix = absolute(prefix)?;
    workspace.build_release(&["hmmrt-ffi"])?;
    for file in install(workspace, &prefix, destdir)? {
        println!("{}", file.display());
    }
    println!(
        "use it: PKG_CONFIG_PATH={} pkg-config --cflags --libs hmmrt",
        prefix.join("lib/pkgconfig").display()
    );
    Ok(())
}

/// The prefix that examples and the tour are built against, freshly installed.
pub fn scratch_prefix(workspace: &Workspace) -> Result<PathBuf> {
    workspace.build_release(&["hmmrt-ffi"])?;
    let prefix = workspace.scratch().join("prefix");
    install(workspace, &prefix, None)?;
    Ok(prefix)
}

/// Copies the built library; returns the files made.
fn install(workspace: &Workspace, prefix: &Path, destdir: Option<&Path>) -> Result<Vec<PathBuf>> {
    let root = match destdir {
        Some(dir) => dir.join(prefix.strip_prefix("/").unwrap_or(prefix)),
        None => prefix.to_path_buf(),
    };
    let (lib, include) = (root.join("lib"), root.join("include"));
    for dir in [&lib, &include, &lib.join("pkgconfig")] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    }
    let major = VERSION.split('.').next().unwrap_or("0");
    let file_name = format!("libhmmrt.so.{VERSION}");
    let soname = format!("libhmmrt.so.{major}");
    let mut made = vec![
        copy(&workspace.release().join("libhmmrt.so"), &lib.join(&file_name), 0o755)?,
        link(&file_name, &lib.join(&soname))?,
        link(&soname, &lib.join("libhmmrt.so"))?,
        copy(&workspace.release().join("libhmmrt.a"), &lib.join("libhmmrt.a"), 0o644)?,
    ];
    for header in ["hmmrt.h", "hmmrt.hpp"] {
        made.push(copy(&workspace.root.join("include").join(header), &include.join(header), 0o644)?);
    }
    let template = workspace.root.join("ffi/hmmrt.pc.in");
    let text =
        fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
    let text = pc(&text, prefix)?;
    let file = lib.join("pkgconfig/hmmrt.pc");
    replace(&file, |file| fs::write(file, text))?;
    made.push(file);
    Ok(made)
}

/// The pkg-config file: the template with prefix and version filled in.
fn pc(template: &str, prefix: &Path) -> Result<String> {
    let prefix = prefix.to_str().context("the prefix is not UTF-8; pkg-config could not read it")?;
    let text = template.replace("@PREFIX@", prefix).replace("@VERSION@", VERSION);
    match text.split_once('@') {
        Some((_, rest)) => {
            bail!("ffi/hmmrt.pc.in has an unknown field: @{}", rest.lines().next().unwrap_or(""))
        }
        None => Ok(text),
    }
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<PathBuf> {
    replace(to, |to| {
        fs::copy(from, to).and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(mode)))
    })
    .with_context(|| format!("copying {}", from.display()))?;
    Ok(to.to_path_buf())
}

fn link(to: &str, at: &Path) -> Result<PathBuf> {
    replace(at, |at| symlink(to, at))?;
    Ok(at.to_path_buf())
}

/// Writes beside the file and renames: a program that has the old library mapped keeps it whole.
fn replace(file: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let fresh = file.with_extension("new");
    fs::remove_file(&fresh).ok();
    write(&fresh)
        .and_then(|()| fs::rename(&fresh, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::{VERSION, pc};
    use std::path::Path;

    #[test]
    fn the_pc_file_gets_prefix_and_version() {
        let text = pc("prefix=@PREFIX@\nVersion: @VERSION@\n", Path::new("/opt/x")).unwrap();
        assert_eq!(text, format!("prefix=/opt/x\nVersion: {VERSION}\n"));
    }

    #[test]
    fn an_unknown_field_is_an_error() {
        let error = pc("libdir=@LIBDIR@\n", Path::new("/opt/x")).unwrap_err();
        assert!(error.to_string().contains("@LIBDIR@"), "{error}");
    }
}
