//! Scripts that are run once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::ports::code::{CodeError, ScriptReply, ScriptRequest, ScriptRunner};
use fapo_domain::ports::sandbox::ProcessExit;
use fapo_sandbox::{ProcessSandbox, PythonScripts, SandboxMode};

use crate::python::{LONG, MEMORY, files, interpreter};
use crate::support::*;

fn script(source: &str) -> ScriptRequest {
    ScriptRequest {
        source: source.to_owned(),
        files: files(&[
            ("runs.csv", "case,score\na,1\n"),
            ("tools.py", "def two(): return 2"),
        ]),
        time: LONG,
        memory_bytes: MEMORY,
        output_bytes: 1000,
    }
}

#[tokio::test]
async fn a_script_reads_its_files_and_says_what_it_found() {
    for sandbox in [sandbox(), unconfined()] {
        let scripts = PythonScripts::new(sandbox, interpreter());
        let source = "
import csv, sys, tempfile, tools
print([row['case'] for row in csv.DictReader(open('runs.csv'))], tools.two(), sys.stdin.read())
print('aside', file=sys.stderr)
tempfile.NamedTemporaryFile().write(b'x')
try: open('runs.csv', 'w')
except OSError: print('not writable')
sys.exit(3)";
        let reply = scripts.run(script(source)).await.unwrap();
        let wanted = ScriptReply {
            stdout: "['a'] 2 \nnot writable\n".to_owned(),
            stderr: "aside\n".to_owned(),
            exit: ProcessExit::Code { code: 3 },
            truncated: false,
        };
        assert_eq!(reply, wanted);
    }
}

#[tokio::test]
async fn whatever_a_script_does_is_a_reply() {
    let scripts = PythonScripts::new(sandbox(), interpreter());
    let reply = scripts.run(script("print('x' * 5000000)")).await.unwrap();
    assert_eq!(
        (reply.stdout.len(), reply.truncated, reply.exit),
        (1000, true, GOOD)
    );
    let reply = scripts.run(script("1 / 0")).await.unwrap();
    assert!(
        reply.stderr.contains("line 1, in <module>"),
        "{}",
        reply.stderr
    );
    assert_eq!(reply.exit, ProcessExit::Code { code: 1 });
    let mut ever = script("print('begun', flush=True)\nwhile True: pass");
    ever.time = Duration::from_secs(1);
    let reply = scripts.run(ever).await.unwrap();
    assert_eq!(
        (&*reply.stdout, reply.exit),
        ("begun\n", ProcessExit::TimedOut)
    );
    let reply = scripts.run(script("x = bytearray(1 << 30)")).await.unwrap();
    assert!(reply.stderr.contains("MemoryError"), "{}", reply.stderr);
    let reply = scripts
        .run(script("import os; os.kill(os.getpid(), 11)"))
        .await
        .unwrap();
    assert_eq!(reply.exit, ProcessExit::Signal { signal: 11 });
}

#[tokio::test]
async fn a_script_without_a_sandbox_is_not_run() {
    let mut none = config();
    none.bwrap = None;
    none.mode = SandboxMode::Required;
    let scripts = PythonScripts::new(Arc::new(ProcessSandbox::new(none)), interpreter());
    let error = scripts
        .run(script("open('/tmp/fapo-was-run', 'w')"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            CodeError::Unavailable {
                configuration: true,
                ..
            }
        ),
        "{error}"
    );
    assert!(!Path::new("/tmp/fapo-was-run").exists());
}
