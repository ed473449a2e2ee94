//! The `gateloop` binary; what it does is said in [`cli`].

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
