//! Shell completions and the manual page, made from `cli` so that they can't differ from it. Printed for packagers, and
//! for `cargo xtask install`.

use crate::cli::Cli;
use crate::failure::Failure;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io;

/// What the manual page has that `--help` has not: section, and paragraphs of term and text.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "EXIT STATUS",
        &[
            (
                "hmmrt run",
                "The program's own, with its signals: it has taken this command's place. Before that:",
            ),
            (
                "125",
                "This command itself failed: a wrong option or setting, no preload library, or a program into which \
                nothing can be preloaded.",
            ),
            ("126", "The program is there, but can't be started."),
            ("127", "There is no such program."),
            (
                "All others",
                "0; 1 if a setting is wrong, a trace can't be read or the output can't be written; 2 for a wrong option.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("HMMRT_*", "The settings of libhmmrt, of which the options of run set some. See its README."),
            ("HMMRT_PRELOAD_LIBRARY", "The preload library, where it is not beside this command."),
            ("LD_PRELOAD", "What is in it stays, after the preload library."),
        ],
    ),
    (
        "FILES",
        &[(
            "libhmmrt_preload.so",
            "The preload library. Looked for in ../lib, the architecture's folder in there, ../lib64, and the folder of \
                this command, as seen from that folder.",
        )],
    ),
    (
        "EXAMPLES",
        &[
            ("hmmrt run --stats -- python3 model.py", "Runs a program and shows what was moved."),
            (
                "hmmrt run --backend host --min-size 64K --chaos -- make check",
                "Tests a program with memory that keeps moving.",
            ),
            (
                "hmmrt run --trace t -- python3 model.py; hmmrt report t",
                "Records what happens to managed memory, and shows what moved, when and why.",
            ),
            ("hmmrt info --json | jq .backend.chosen", "Asks which kind of device would be used."),
        ],
    ),
];

/// The script that a shell reads.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hmmrt", &mut out);
    out
}

/// The manual page.
pub fn man() -> Result<Vec<u8>, Failure> {
    page().map_err(|error| Failure::general(format!("cannot make the manual page: {error}")))
}

fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut out = Vec::new();
    let top = Man::new(command.clone()).manual("libhmmrt");
    top.render_title(&mut out)?;
    top.render_name_section(&mut out)?;
    top.render_synopsis_section(&mut out)?;
    top.render_description_section(&mut out)?;
    top.render_options_section(&mut out)?;
    for task in command.get_subcommands() {
        out.extend(chapter(task)?);
    }
    for (section, paragraphs) in SECTIONS {
        let mut roff = Roff::new();
        roff.control("SH", [section]);
        for (term, text) in paragraphs {
            roff.control("TP", []).text([bold(*term)]).text([roman(*text)]);
        }
        roff.to_writer(&mut out)?;
    }
    Ok(out)
}

/// A subcommand's own sections, one level below.
fn chapter(task: &Command) -> io::Result<Vec<u8>> {
    let name = format!("hmmrt {}", task.get_name());
    let man = Man::new(task.clone().bin_name(&name).display_name(&name));
    let mut sections = Vec::new();
    man.render_synopsis_section(&mut sections)?;
    man.render_description_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    let sections = String::from_utf8(sections).map_err(io::Error::other)?;
    let mut roff = Roff::new();
    roff.control("SH", [name.to_uppercase().as_str()]);
    Ok((roff.render() + &sections.replace("\n.SH ", "\n.SS ")).into_bytes())
}
