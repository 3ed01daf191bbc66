//! [`fapo_sandbox::init`] as a program of its own; see there.

fn main() -> std::process::ExitCode {
    fapo_sandbox::init::main(std::env::args_os().skip(1))
}
