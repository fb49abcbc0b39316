//! The program: reads the command line, does one thing, and says how it ended.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ephor::cli::main()
}
