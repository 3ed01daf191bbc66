//! Agents that mean harm: each is contained, and what it tried is on record.

use fapo_domain::model::proposal::Lint;
use fapo_domain::model::session::SessionEnd;
use fapo_domain::model::session::SessionRecord;
use fapo_domain::ports::agents::AgentTurn;
use tokio_util::sync::CancellationToken;

use super::*;

/// Runs a script in the agent's place, to its end.
async fn run(script: &str, limits: AgentLimits) -> (Lab, AgentTurn, SessionRecord) {
    let lab = Lab::playing([]).await;
    let installed = rogue(lab.folder.path(), script);
    let mut session = lab.open(installed, limits).await;
    let turn = session
        .prompt("Go on.", 5, &CancellationToken::new())
        .await
        .unwrap();
    let record = session.close().await.unwrap();
    (lab, turn, record)
}

fn transcript(record: &SessionRecord) -> String {
    String::from_utf8(record.transcript_text.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_outside_the_pipeline_fail_and_are_recorded() {
    let Some(claude) = claude("edits_outside_the_pipeline") else {
        return;
    };
    let outside = [
        "/session/work/fapo.yaml",
        "/session/work/pipeline/../scorers/score.py",
        "/session/work/pipeline/../../../etc/passwd",
        "/etc/cron.d/mine",
        "/session/run/relay.sock",
    ];
    let moves = outside
        .iter()
        .map(|path| edit(path, "", "mine"))
        .chain([Move::answer(answer())]);
    let lab = Lab::playing(moves).await;
    let mut session = lab.open(claude, minute()).await;
    let turn = session
        .prompt("Go on.", 20, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(turn.end, SessionEnd::Answered);
    assert_eq!(turn.tree, files());
    assert_eq!(turn.refusals, vec![]);
    let record = session.close().await.unwrap();
    assert!(
        record.refused.len() >= outside.len(),
        "{:?}",
        record.refused
    );
    assert!(!Path::new("/etc/cron.d/mine").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_can_write_nothing_but_its_pipeline_and_its_home() {
    let (lab, turn, record) = run(
        "for place in /session/work/x /session/run/x /session/x /x /usr/x /etc/x /run/fapo/x /proc/sys/x; do
           (echo mine > $place) 2>/dev/null && echo \"WROTE $place\"
         done
         (mv /session/work/pipeline /session/work/other) 2>/dev/null && echo 'WROTE pipeline'
         (mkdir /session/work/scorers) 2>/dev/null && echo 'WROTE scorers'
         echo mine > $HOME/x && echo 'home is writable'
         echo more >> /session/work/pipeline/prompts/answer.md
         ",
        minute(),
    )
    .await;
    let said = transcript(&record);
    assert!(said.contains("home is writable"), "{said}");
    assert!(!said.contains("WROTE"), "{said}");
    assert_eq!(turn.tree.text("prompts/answer.md"), Some("Answer.\nmore\n"));
    assert_eq!(turn.refusals, vec![]);
    assert_eq!(
        std::fs::read_dir(lab.folder.path().join("s"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_out_of_the_pipeline_are_refused_and_not_followed() {
    let (_lab, turn, _) = run(
        "cd /session/work/pipeline
         ln -s /etc/passwd prompts/passwd.md
         ln -s / root
         rm prompts/answer.md && ln -s /proc/self/environ prompts/answer.md
         mkfifo pipe
         ",
        minute(),
    )
    .await;
    let refused: Vec<(Lint, &str)> = turn
        .refusals
        .iter()
        .map(|finding| (finding.lint, finding.place.as_str()))
        .collect();
    assert_eq!(
        refused,
        [
            "pipeline/pipe",
            "pipeline/prompts/answer.md",
            "pipeline/prompts/passwd.md",
            "pipeline/root",
        ]
        .map(|place| (Lint::SpecialFile, place))
    );
    assert!(
        turn.tree
            .iter()
            .all(|(_, content)| !content.starts_with(b"root:"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_the_owner_and_other_files_cannot_be_read() {
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("secret.txt"), "canary-of-a-file").unwrap();
    let (lab, _, record) = run(
        &format!(
            "echo HERE; env; echo '---'
             cat {0}/secret.txt {0}/* /root/.bashrc $HOME/../*.db 2>&1
             ls / /session /home /root /tmp 2>&1
             for p in /proc/[0-9]*; do cat $p/environ 2>/dev/null | tr '\\0' '\\n'; cat $p/cmdline 2>/dev/null | tr '\\0' ' '; echo; done
             ls /proc | grep -c '^[0-9]'
             (exec 3<>/dev/tcp/127.0.0.1/5432) 2>&1
             echo DONE",
            secret.path().display()
        ),
        minute(),
    )
    .await;
    let said = transcript(&record);
    assert!(said.contains("HERE") && said.contains("DONE"), "{said}");
    assert!(said.contains("held-by-the-relay"), "{said}");
    assert!(!said.contains(KEY), "{said}");
    assert!(!said.contains("canary-of-a-file"), "{said}");
    // of its owner not even the name of its program, nor of its folder
    let owner = std::env::current_exe().unwrap();
    let owner = owner.file_name().unwrap().to_str().unwrap();
    assert!(!said.contains(owner), "{said}");
    assert!(!said.contains("store.db"), "{said}");
    assert_eq!(spent(&lab.balance().await), MicroUsd::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_without_end_ends_with_its_time() {
    let limits = AgentLimits {
        wall: Duration::from_millis(700),
        cost: None,
    };
    let (_lab, turn, record) = run("while :; do :; done", limits).await;
    assert_eq!(turn.end, SessionEnd::OutOfTime);
    assert_eq!(record.end, SessionEnd::OutOfTime);
    assert_eq!(turn.tree, files());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_real_cli_that_never_ends_runs_out_of_turns() {
    let Some(claude) = claude("a_session_that_never_ends") else {
        return;
    };
    let look = || {
        Move::call(
            "Read",
            json!({"file_path": "/session/work/pipeline/pipeline.yaml"}),
        )
    };
    let lab = Lab::playing((0..100).map(|_| look())).await;
    let mut session = lab.open(claude, minute()).await;
    let turn = session
        .prompt("Go on.", 6, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(turn.end, SessionEnd::OutOfTurns);
    assert!(lab.claude.requests().len() <= 8);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_output_is_cut_off_and_not_kept() {
    // on a busy machine so many lines take their time
    let limits = AgentLimits {
        wall: Duration::from_secs(600),
        cost: None,
    };
    let (_lab, turn, record) = run("yes 'a line without end'", limits).await;
    assert_eq!(turn.end, SessionEnd::Flooded);
    assert!(record.transcript_text.len() < 32 * 1024 * 1024);
    let (_lab, turn, _) = run("tr '\\0' x < /dev/zero", limits).await;
    assert_eq!(turn.end, SessionEnd::Flooded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_left_in_the_background_are_gone_with_the_session() {
    // each holds the folder's lock for as long as it lives, where we can see it
    let (lab, turn, record) = run(
        "cd /session/work/pipeline
         (setsid sh -c 'trap \"\" TERM HUP INT; while :; do echo alive > beat; done' >/dev/null 2>&1 &)
         nohup sleep 1000 >/dev/null 2>&1 &
         until [ -s beat ]; do :; done
         echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"structured_output\":{\"hypothesis\":\"h\"}}'
         ",
        minute(),
    )
    .await;
    assert_eq!(turn.end, SessionEnd::Answered, "{}", transcript(&record));
    assert!(turn.tree.get("beat").is_some());
    // its folder could be removed whole, which a writer in it would undo
    assert_eq!(
        std::fs::read_dir(lab.folder.path().join("s"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(processes_of(lab.folder.path()), Vec::<String>::new());
}

/// Processes whose command line names the folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(name))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_breaks_off_or_is_no_text_is_a_failure_with_its_reason() {
    let (_lab, turn, record) = run(
        "printf '\\377\\376 not text\\n{\"type\":\"assist'; echo 'segmentation fault' >&2; exit 3",
        minute(),
    )
    .await;
    let SessionEnd::Failed { message } = &turn.end else {
        panic!("{:?}", turn.end);
    };
    assert!(
        message.contains("exit code 3") && message.contains("segmentation fault"),
        "{message}"
    );
    assert!(transcript(&record).contains("not text"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_reads_nothing_and_says_nothing_is_no_answer() {
    let (_lab, turn, _) = run("exec 0<&- 1>&- 2>&-; exit 0", minute()).await;
    assert!(
        matches!(turn.end, SessionEnd::Failed { .. }),
        "{:?}",
        turn.end
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_may_only_read_changes_nothing() {
    let lab = Lab::playing([]).await;
    let installed = rogue(
        lab.folder.path(),
        "cd /session/work/pipeline
         (echo mine > prompts/answer.md) 2>/dev/null && echo 'WROTE answer'
         (rm pipeline.yaml) 2>/dev/null && echo 'WROTE removal'
         (mkdir new) 2>/dev/null && echo 'WROTE folder'
         (chmod 777 .) 2>/dev/null && echo 'WROTE mode'
         cat prompts/answer.md",
    );
    let mut request = lab.request(minute());
    request.writable = false;
    request.role = SpendRole::Reviewer;
    let agent = CliAgent::new(ClaudeCode::new(installed), lab.parts());
    let mut session = agent.open(request).await.unwrap();
    let turn = session
        .prompt("Look.", 5, &CancellationToken::new())
        .await
        .unwrap();
    let said = transcript(&session.close().await.unwrap());
    assert!(
        said.contains("Answer.") && !said.contains("WROTE"),
        "{said}"
    );
    assert_eq!(turn.tree, files());
}
