//! `cargo xtask install`: the C library and the command as a distribution would lay them out.
//!
//! lib/libhmmrt.so.0.1.0 with its two links, lib/libhmmrt.a, include/hmmrt.h and hmmrt.hpp, lib/pkgconfig/hmmrt.pc;
//! bin/hmmrt, lib/libhmmrt_preload.so, the manual page and the shells' completions in share/.
//! Also called by `course` and `tour`, whose C programs are built against such a prefix; it has no command.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{Command, ended};
use crate::workspace::Workspace;

/// This workspace has one version; the library's file name carries it, its SONAME the first number.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the command prints for share/, and where it goes.
const PAGES: [(&[&str], &str); 4] = [
    (&["man"], "share/man/man1/hmmrt.1"),
    (&["completions", "bash"], "share/bash-completion/completions/hmmrt"),
    (&["completions", "zsh"], "share/zsh/site-functions/_hmmrt"),
    (&["completions", "fish"], "share/fish/vendor_completions.d/hmmrt.fish"),
];

/// The subcommand: builds, installs, says what it put where.
pub fn run(workspace: &Workspace, prefix: &Path, destdir: Option<&Path>) -> Result<()> {
    let prefix = absolute(prefix)?;
    // One by one: built together, each would get what another wants of a crate.
    for package in ["hmmrt-ffi", "hmmrt-preload", "hmmrt-cli"] {
        workspace.build_release(&[package])?;
    }
    let made = install(workspace, &prefix, destdir)?;
    for file in made.into_iter().chain(install_command(workspace, &root(&prefix, destdir))?) {
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
    let root = root(prefix, destdir);
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

/// Copies the built command with the preload library, which it looks for in lib/, and writes its pages; returns the files
/// made.
fn install_command(workspace: &Workspace, root: &Path) -> Result<Vec<PathBuf>> {
    let command = workspace.release().join("hmmrt");
    let files = [
        ("bin/hmmrt", &command),
        ("lib/libhmmrt_preload.so", &workspace.release().join("libhmmrt_preload.so")),
    ];
    let mut made = Vec::new();
    for (to, from) in files {
        made.push(copy(from, &place(root, to)?, 0o755)?);
    }
    for (args, to) in PAGES {
        let output = Command::new(&command).args(args).capture()?;
        ensure!(output.status.success(), "`hmmrt {}` {}", args.join(" "), ended(output.status));
        let file = place(root, to)?;
        replace(&file, |file| fs::write(file, &output.stdout))?;
        made.push(file);
    }
    Ok(made)
}

/// A file below the root, whose folder is there.
fn place(root: &Path, file: &str) -> Result<PathBuf> {
    let file = root.join(file);
    let folder = file.parent().unwrap_or(root);
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(file)
}

/// Where the prefix is while copying.
fn root(prefix: &Path, destdir: Option<&Path>) -> PathBuf {
    match destdir {
        Some(dir) => dir.join(prefix.strip_prefix("/").unwrap_or(prefix)),
        None => prefix.to_path_buf(),
    }
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
