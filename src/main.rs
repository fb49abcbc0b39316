//! The program: reads the command line, does one thing, and says how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    ephor::cli::main()
}
