use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser as _;
use fapo_domain::error::Classified as _;
use fapo_domain::model::job::{JobGoal, JobStatus};
use fapo_domain::ports::jobs::Jobs as _;
use fapo_domain::ports::optimizer::OptimizerError;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cli::args::{Cli, Command};
use crate::config::{Config, Env};
use crate::exit::Exit;
use crate::output::Output;
use crate::ports::Ports;
use crate::progress::{Followed, follow};
use crate::project::{import_project, load_project, project_files};
use crate::remote::testing::{Server, example};

fn context(env: &[(&str, &str)]) -> Context {
    let env = Env::from_pairs(env.iter().copied());
    Context {
        output: Output::new(true, true, &env),
        config: Config::new(env, true, 0, true, None),
    }
}

fn parse(line: &str) -> Command {
    Cli::try_parse_from(line.split_whitespace())
        .unwrap()
        .command
}

async fn submitted(server: &Server, line: &str) -> anyhow::Result<Exit> {
    let Command::Submit(args) = parse(line) else {
        panic!("{line}")
    };
    let project = project_files(&example()).unwrap();
    submit::submit(&context(&[]), &server.remote, project, &args).await
}

async fn newest(server: &Server) -> JobSummary {
    job(&server.remote, None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_project_ends_as_it_does_at_home() {
    let server = Server::start().await;
    let exit = submitted(&server, "fapo submit . --request-id r").await;
    assert_eq!(exit.unwrap(), Exit::Ok);
    let id = newest(&server).await.id;

    // watched while it runs, by a client that the server does not answer at first
    server.silent.store(2, Ordering::SeqCst);
    let context = context(&[]);
    let stop = CancellationToken::new();
    let (watched, ran) = tokio::join!(
        watch::watched(&context, &server.remote, id, &stop),
        server.engine.run_job(id, CancellationToken::new())
    );
    assert_eq!(ran.unwrap().status, JobStatus::Done);
    assert_eq!(watched.unwrap(), Exit::Ok);

    let home = Server::start().await;
    let project = load_project(&example(), &|_| None).unwrap();
    let ports = Ports::over(home.engine.store().clone());
    let imported = import_project(&project, &ports, JobGoal::Optimize).await;
    let at_home = home.engine.submit(imported.unwrap().spec).await.unwrap();
    let run = home.engine.run_job(at_home, CancellationToken::new());
    assert_eq!(run.await.unwrap().status, JobStatus::Done);
    let (there, here) = (newest(&server).await, newest(&home).await);
    assert_eq!(there.lineage_hash, here.lineage_hash);
    assert_ne!(there.best, there.baseline, "something was promoted");
    assert_eq!(there.best_mean, here.best_mean);

    // a repetition is the same job, and what came of it can be had
    let exit = submitted(&server, "fapo submit . --request-id r").await;
    assert_eq!((exit.unwrap(), newest(&server).await.id), (Exit::Ok, id));
    results_can_be_had(&context, &server, &there).await;
}

async fn results_can_be_had(context: &Context, server: &Server, job: &JobSummary) {
    let remote = &server.remote;
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let name = job.id.short();
    let listed = show::list(context, remote, Some(&name)).await;
    assert_eq!(listed.unwrap(), Exit::Ok);
    let report = out("report");
    let written = show::write_report(context, remote, Some(&name), Some(&report)).await;
    assert_eq!(written.unwrap(), Exit::Ok);
    let page = std::fs::read_to_string(report.join("report.html")).unwrap();
    assert!(page.contains(&job.lineage_hash.to_string()));
    let data = remote.report(job.id).await.unwrap();
    assert_eq!(
        crate::report::html(&data).unwrap(),
        page,
        "the JSON holds all of it"
    );

    for (variant, file) in [
        ("best", "best"),
        ("baseline", "base"),
        (&*job.best.short(), "digits"),
    ] {
        let to = out(file);
        let line = format!(
            "fapo export {name} --server http://x --variant {variant} --to {}",
            to.display()
        );
        let Command::Export(args) = parse(&line) else {
            panic!("{line}")
        };
        let written = show::write_variant(context, remote, &args).await;
        assert_eq!(written.unwrap(), Exit::Ok, "{variant}");
        assert!(to.join("pipeline.yaml").is_file());
    }
    let yaml = |name: &str| std::fs::read(out(name).join("pipeline.yaml")).unwrap();
    assert_eq!(yaml("best"), yaml("digits"));
    assert_ne!(yaml("best"), yaml("base"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_leaves_the_job_running() {
    let server = Server::start().await;
    submitted(&server, "fapo submit .").await.unwrap();
    let id = newest(&server).await.id;
    let stop = CancellationToken::new();
    stop.cancel();
    let left = watch::watched(&context(&[]), &server.remote, id, &stop).await;
    assert_eq!(left.unwrap(), Exit::Interrupted);
    assert_eq!(newest(&server).await.status, JobStatus::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_paused_resumed_and_ended_by_its_short_name() {
    let server = Server::start().await;
    submitted(&server, "fapo submit .").await.unwrap();
    let (context, remote) = (context(&[]), &server.remote);
    let name = newest(&server).await.id.short();
    for paused in [true, false] {
        let exit = control::set_paused(&context, remote, &name[..6], paused).await;
        assert_eq!(exit.unwrap(), Exit::Ok);
        assert_eq!(newest(&server).await.paused, paused);
    }
    let exit = control::cancelled(&context, remote, &name).await;
    assert_eq!(exit.unwrap(), Exit::Ok);
    assert_eq!(newest(&server).await.status, JobStatus::Cancelled);
    let refused = control::set_paused(&context, remote, &name, true).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        crate::cli::advice::reason(&refused).as_deref(),
        Some("JOB_STATE")
    );
    // one that is over is watched to its end at once, and says so
    let stop = CancellationToken::new();
    let id = newest(&server).await.id;
    let watched = watch::watched(&context, remote, id, &stop).await;
    assert_eq!(watched.unwrap(), Exit::Incomplete);
    let dead = crate::cli::tasks::there(&context, remote, Some(&name), false).await;
    assert_eq!(dead.unwrap(), Exit::Ok);
    let unknown = job(remote, Some("ffffff")).await.unwrap_err();
    let hint = crate::cli::advice::hint(&unknown).unwrap();
    assert!(hint.contains("--server http://test"), "{hint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problems_that_only_the_server_sees_end_like_those_of_a_check() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "fapo.yaml",
        "name: x\nmodels: {task: {provider: openai, model: m, base_url: 'http://127.0.0.1:9/v1'}}\ndata: {train: t.jsonl}\nscorer: {metric: exact_match, expected: answer}\nproposer: {backend: catalogue}\n",
    );
    write("t.jsonl", "{\n");
    write(
        "pipeline/pipeline.yaml",
        "steps:\n  - { id: a, kind: llm, prompt: p.md }\noutput: a\n",
    );
    write("pipeline/p.md", "Answer {{ question }}");
    let Command::Submit(args) = parse("fapo submit .") else {
        panic!("not submit")
    };
    let project = project_files(folder.path()).unwrap();
    let refused = submit::submit(&context(&[]), &server.remote, project, &args).await;
    assert_eq!(refused.unwrap(), Exit::Problems);
    let jobs = server.engine.store().list_jobs(None, None, 10).await;
    assert!(jobs.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_does_not_exist_is_not_waited_for() {
    let server = Server::start().await;
    let absent = JobId::at(1, [9; 10]);
    let stop = CancellationToken::new();
    let output = &context(&[]).output;
    let followed = follow(&server.remote, absent, output, &stop);
    let followed = tokio::time::timeout(Duration::from_secs(20), followed).await;
    match followed.unwrap() {
        Err(error) => assert_eq!(error.reason(), "NOT_FOUND"),
        Ok(Followed::Ended(_) | Followed::Left) => panic!("there is no such job"),
    }
}

#[tokio::test]
async fn a_call_is_tried_again_only_where_that_can_help() {
    let server = Server::start().await;
    let output = &context(&[]).output;
    server.silent.store(1, Ordering::SeqCst);
    let ask = async || server.remote.named().await;
    assert!(
        server
            .remote
            .patiently(output, ask)
            .await
            .unwrap()
            .is_empty()
    );
    let refuse = async || -> Result<(), OptimizerError> {
        Err(OptimizerError::State {
            message: "no".to_owned(),
        })
    };
    let refused = server.remote.patiently(output, refuse).await.unwrap_err();
    assert_eq!(refused.reason(), "JOB_STATE");
}

#[test]
fn the_server_and_the_token_come_from_the_command_line_or_the_environment() {
    let args = |server: Option<&str>, token_file: Option<PathBuf>| ServerArgs {
        server: server.map(str::to_owned),
        token_file,
    };
    let env = context(&[
        ("FAPO_SERVER", "https://there/"),
        ("FAPO_TOKEN", " secret "),
    ]);
    assert_eq!(server(&env, &args(None, None)).unwrap(), "https://there");
    let flag = args(Some("http://127.0.0.1:7070"), None);
    assert_eq!(server(&env, &flag).unwrap(), "http://127.0.0.1:7070");
    let token = credential(&env, &flag).unwrap().unwrap();
    assert_eq!(token.expose(), "secret");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let with_file = args(None, Some(file.clone()));
    let token = credential(&env, &with_file).unwrap().unwrap();
    assert_eq!(token.expose(), "from-file");
    std::fs::write(&file, "\n").unwrap();
    assert!(credential(&env, &with_file).is_err());

    let bare = context(&[]);
    assert!(credential(&bare, &flag).unwrap().is_none());
    assert!(server(&bare, &args(None, None)).is_err());
    for bad in ["there", "ftp://there", "http://", "file:///etc"] {
        assert!(server(&bare, &args(Some(bad), None)).is_err(), "{bad}");
    }
}
