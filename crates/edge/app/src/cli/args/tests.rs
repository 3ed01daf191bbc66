use clap::CommandFactory as _;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn commands_work_in_the_current_folder_unless_told_otherwise() {
    let cli = parse("fapo eval --json").unwrap();
    assert!(cli.global.json);
    let Command::Eval(args) = cli.command else {
        panic!("not eval");
    };
    assert_eq!(args.dir, PathBuf::from("."));
    assert_eq!(args.split, SplitArg::Val);
    assert_eq!((args.sample, args.show_failures), (0, 5));
}

#[test]
fn what_cannot_go_together_is_refused() {
    for line in [
        "fapo run .",
        "fapo run . --case a --input {}",
        "fapo export .",
        "fapo export . --to a --patch b",
        "fapo schema",
        "fapo schema prices",
        "fapo eval . --cases 0",
        "fapo eval . --split dev",
        "fapo -q -v status",
        "fapo optimise .",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
    }
}

#[test]
fn hidden_options_stay_hidden_and_work() {
    let cli = parse("fapo optimize . --abort-after-commits 7").unwrap();
    assert_eq!(cli.global.abort_after_commits, Some(7));
    assert!(
        !Cli::command()
            .render_long_help()
            .to_string()
            .contains("abort-after")
    );
}

#[test]
fn the_long_help_documents_the_exit_codes() {
    let help = Cli::command().render_long_help().to_string();
    assert!(help.contains("Exit codes:"), "{help}");
    assert!(help.contains("130"), "{help}");
}

#[test]
fn diff_compares_baseline_with_best_unless_told_otherwise() {
    let Command::Diff(args) = parse("fapo diff").unwrap().command else {
        panic!("not diff");
    };
    assert_eq!((args.a.as_str(), args.b.as_str()), ("baseline", "best"));
}
