//! Functions in workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fapo_domain::error::Classified;
use fapo_domain::ports::code::{CodeError, CodeReply, CodeRunner, CodeUnit};
use fapo_domain::ports::sandbox::Sandbox;
use fapo_sandbox::{Interpreter, ProcessSandbox, PythonConfig, PythonPool};
use serde_json::{Value, json};

use crate::support::*;

pub const MEMORY: u64 = 512 << 20;
pub const LONG: Duration = Duration::from_secs(60);

pub fn interpreter() -> Arc<Interpreter> {
    Arc::new(Interpreter::new(None, search_path()))
}

fn pool_with(change: impl FnOnce(&mut PythonConfig)) -> PythonPool {
    let mut config = PythonConfig::default();
    change(&mut config);
    PythonPool::new(sandbox(), interpreter(), config)
}

fn pool() -> PythonPool {
    pool_with(|_| {})
}

pub fn files(files: &[(&str, &str)]) -> BTreeMap<String, Arc<[u8]>> {
    let files = files.iter();
    files
        .map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes())))
        .collect()
}

fn unit(text: &str) -> Arc<CodeUnit> {
    let files = files(&[("steps/clean.py", text)]);
    Arc::new(CodeUnit::new("steps/clean.py", "run", files, MEMORY))
}

/// Calls a unit of this text once.
async fn once(text: &str, input: Value) -> Result<CodeReply, CodeError> {
    pool().call(&unit(text), &input, LONG).await
}

async fn output(text: &str, input: Value) -> Value {
    once(text, input).await.unwrap().output
}

/// Calls, and returns what the function says of its worker.
async fn worker_of(pool: &PythonPool, unit: &Arc<CodeUnit>) -> Value {
    pool.call(unit, &json!({}), LONG).await.unwrap().output
}

/// Tells workers apart: each loads the file anew.
const NAMED: &str = "import os\nname = os.urandom(8).hex()\ndef run(inputs): return name\n";

#[tokio::test]
async fn a_function_gets_a_dict_and_returns_what_json_can_hold() {
    let text = "def run(inputs): return {'got': inputs, 'more': [1.5, None, True, 'ü', (1, 2)]}";
    let input = json!({"a": [1, 2.25, "x\n\u{1f600}"], "big": 9_007_199_254_740_993_u64});
    let wanted = json!({"got": input, "more": [1.5, null, true, "ü", [1, 2]]});
    assert_eq!(output(text, input).await, wanted);
    assert_eq!(
        output("def run(inputs): return None", json!({})).await,
        Value::Null
    );
}

#[tokio::test]
async fn nothing_printed_is_taken_for_a_reply() {
    let text = r#"
import os, subprocess, sys
print('{"output": "while loading"}')
os.write(1, b'{"output": "below, while loading"}\n')
def run(inputs):
    print('{"output": 1}')
    print('to stderr', file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b'{"output": 2}\n')
    os.system('echo \'{"output": 3}\'')
    subprocess.run(['echo', '{"output": 4}'])
    return [sys.stdin.read(), os.read(0, 10).decode(), 'the answer']
"#;
    let reply = once(text, json!({})).await.unwrap();
    assert_eq!(reply.output, json!(["", "", "the answer"]));
    assert_eq!(reply.printed, "{\"output\": 1}\nto stderr\n");
}

#[tokio::test]
async fn a_flood_of_prints_is_cut_and_stops_nothing() {
    let text = "
import os
def run(inputs):
    for at in range(20000): print('line', at)
    for at in range(200): os.write(1, b'x' * 65536)
    return 'done'
";
    let reply = once(text, json!({})).await.unwrap();
    assert_eq!(reply.output, json!("done"));
    assert!(reply.printed.starts_with("line 0\nline 1\n") && reply.printed.ends_with("[cut]"));
    assert!(reply.printed.len() < 5000);
}

#[tokio::test]
async fn the_helper_finds_inputs_and_documents() {
    let text = "
import fapo
def deeper():
    return [fapo.get('hop.0.text'), fapo.get('hop.-1.id'), fapo.get('hop.9.id'), fapo.get('no.way', 'none')]
def run(inputs):
    assert fapo.inputs() is inputs
    return [deeper(), [document['id'] for document in fapo.documents()], fapo.text(separator='|')]
";
    let one = json!({"id": "1", "text": "one", "score": 1.5});
    let two = json!({"id": "2", "text": "two"});
    let input =
        json!({"hop": [one, two], "case": {"text": "no document"}, "again": {"docs": [one]}});
    assert_eq!(
        output(text, input).await,
        json!([["one", "2", null, "none"], ["1", "2"], "one|two"])
    );
}

#[tokio::test]
async fn files_of_the_unit_are_imported_and_read_but_not_written() {
    let text = "
import os, beside, lib.far
def run(inputs):
    try:
        open('lib/far.py', 'w')
        written = True
    except OSError:
        written = False
    return [beside.VALUE, lib.far.VALUE, open('data.txt').read(), written, sorted(os.listdir('/tmp'))]
";
    let files = files(&[
        ("steps/main.py", text),
        ("steps/beside.py", "VALUE = 1"),
        ("lib/far.py", "VALUE = 2"),
        ("data.txt", "three"),
    ]);
    let unit = Arc::new(CodeUnit::new("steps/main.py", "run", files, MEMORY));
    let reply = pool().call(&unit, &json!({}), LONG).await.unwrap();
    assert_eq!(reply.output, json!([1, 2, "three", false, []]));
}

#[tokio::test]
async fn code_has_no_network_and_no_host_and_does_not_depend_on_the_run() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = "
import os, socket
def run(inputs):
    try:
        socket.create_connection(('127.0.0.1', inputs['port']))
        reached = True
    except OSError:
        reached = False
    return [reached, os.path.exists(inputs['home'] + '/.cargo'), hash('x'), sorted(os.environ)]
";
    let home = home();
    let input = json!({"port": host.local_addr().unwrap().port(), "home": home});
    let (one, two) = (output(text, input.clone()).await, output(text, input).await);
    assert_eq!(one, two);
    assert_eq!((&one[0], &one[1]), (&json!(false), &json!(false)));
    assert!(!one[3].to_string().contains("CARGO"), "{one}");
}

#[tokio::test]
async fn what_the_code_does_wrong_is_told_in_one_line_with_its_place() {
    let cases = [
        (
            "def run(i):\n  raise ValueError('two\\n lines')",
            "ValueError: two lines (steps/clean.py:2)",
        ),
        (
            "import json\ndef run(i):\n\n  json.loads('{')",
            "JSONDecodeError: ",
        ),
        (
            "import json\ndef run(i):\n\n  json.loads('{')",
            "(steps/clean.py:4)",
        ),
        (
            "def run(i): return i['no']",
            "KeyError: 'no' (steps/clean.py:1)",
        ),
        (
            "def run(i):\n  return (",
            "SyntaxError: '(' was never closed (steps/clean.py:2)",
        ),
        (
            "import nowhere",
            "ModuleNotFoundError: No module named 'nowhere' (steps/clean.py:1)",
        ),
        (
            "x = 1 / 0",
            "ZeroDivisionError: division by zero (steps/clean.py:1)",
        ),
        (
            "def other(i): pass",
            "there is no function `run` in steps/clean.py",
        ),
        ("def run(): pass", "takes 0 positional arguments"),
        (
            "def run(i): return float('nan')",
            "`run` returned what JSON cannot hold",
        ),
        (
            "def run(i): return [float('inf')]",
            "`run` returned what JSON cannot hold",
        ),
        ("def run(i): return {1, 2}", "set is not JSON serializable"),
        ("def run(i): return '\\ud800'", "surrogates not allowed"),
        (
            "def run(i):\n  x = []\n  x.append(x)\n  return x",
            "Circular reference",
        ),
        (
            "def run(i):\n  x = []\n  for _ in range(500): x = [x]\n  return x",
            "recursion limit",
        ),
        (
            "def run(i):\n  return run(i)",
            "RecursionError: maximum recursion depth",
        ),
        (
            "import sys\ndef run(i): sys.exit(3)",
            "SystemExit: 3 (steps/clean.py:2)",
        ),
        (
            "def run(i): raise KeyboardInterrupt",
            "KeyboardInterrupt (steps/clean.py:1)",
        ),
        (
            "def run(i): return 'x' * 9000000",
            "more than the 8388608 allowed",
        ),
        (
            "class E(Exception):\n  def __str__(self): return 'x' * 5000\ndef run(i): raise E",
            "xxx... (steps",
        ),
    ];
    let pool = pool();
    for (text, wanted) in cases {
        let error = pool.call(&unit(text), &json!({}), LONG).await.unwrap_err();
        let CodeError::Failed { file, message } = &error else {
            panic!("{text}: {error}");
        };
        assert!(message.contains(wanted), "{text}: {message}");
        assert!(
            message.lines().count() == 1 && message.len() < 800,
            "{message}"
        );
        assert_eq!((&**file, error.reason()), ("steps/clean.py", "CODE_FAILED"));
    }
}

#[tokio::test]
async fn a_path_out_of_the_files_is_refused() {
    for path in ["../out.py", "/tmp/out.py", "a/../../out.py", ""] {
        let files = files(&[("run.py", "def run(i): pass"), (path, "x")]);
        let unit = Arc::new(CodeUnit::new("run.py", "run", files, MEMORY));
        let error = pool().call(&unit, &json!({}), LONG).await.unwrap_err();
        assert!(matches!(error, CodeError::Failed { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_death_is_told_and_the_worker_is_replaced() {
    let text = "
import ctypes, os, signal
calls = 0
def run(inputs):
    global calls
    calls += 1
    how = inputs.get('how')
    if how == 'exit': os._exit(7)
    if how == 'kill': os.kill(os.getpid(), signal.SIGKILL)
    if how == 'crash': ctypes.string_at(0)
    if how == 'abort': os.abort()
    if how == 'memory': return len(bytearray(2 << 30))
    if how == 'close': os.closerange(3, 100)
    return calls
";
    let cases = [
        ("exit", "code 7"),
        ("kill", "SIGKILL"),
        ("crash", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("memory", "its limit is 512 MiB"),
        ("close", ""),
    ];
    let (pool, unit) = (pool_with(|config| config.workers = 1), unit(text));
    for (how, wanted) in cases {
        assert_eq!(worker_of(&pool, &unit).await, json!(1), "before {how}");
        // Modules keep what they keep for as long as their worker lives; nothing promises that it does.
        assert_eq!(worker_of(&pool, &unit).await, json!(2));
        let error = pool
            .call(&unit, &json!({"how": how}), LONG)
            .await
            .unwrap_err();
        assert!(matches!(error, CodeError::Died { .. }), "{how}: {error}");
        assert!(error.to_string().contains(wanted), "{how}: {error}");
        assert_eq!(error.reason(), "CODE_DIED");
    }
}

#[tokio::test]
async fn a_fork_bomb_is_a_death_of_the_worker() {
    let text = "import os, time\ndef run(i):\n  for _ in range(9): os.fork()\n  time.sleep(60)";
    let pool = pool_with(|config| config.processes = 20);
    let error = pool.call(&unit(text), &json!({}), LONG).await.unwrap_err();
    // refused by the kernel first, where that counts per session
    let known = matches!(&error, CodeError::Died { .. } | CodeError::Failed { .. });
    assert!(known, "{error}");
}

#[tokio::test]
async fn what_takes_too_long_is_killed_and_told() {
    let text = "
import time
def run(inputs):
    while inputs.get('ever'):
        try: time.sleep(10)
        except BaseException: pass
    return 'done'
";
    let (pool, unit) = (pool_with(|config| config.workers = 1), unit(text));
    assert_eq!(worker_of(&pool, &unit).await, json!("done"));
    let brief = Duration::from_millis(300);
    let error = pool
        .call(&unit, &json!({"ever": true}), brief)
        .await
        .unwrap_err();
    assert!(matches!(error, CodeError::TimedOut { .. }), "{error}");
    assert_eq!(error.reason(), "CODE_TIMED_OUT");
    assert_eq!(worker_of(&pool, &unit).await, json!("done"));
}

#[tokio::test]
async fn a_cancelled_call_gives_its_place_back() {
    let text = "import time\ndef run(inputs): time.sleep(inputs.get('sleep', 0)); return 'done'";
    let (pool, unit) = (pool_with(|config| config.workers = 1), unit(text));
    for _ in 0..3 {
        let input = json!({"sleep": 3600});
        let call = pool.call(&unit, &input, LONG * 100);
        assert!(
            tokio::time::timeout(Duration::from_millis(200), call)
                .await
                .is_err()
        );
    }
    assert_eq!(worker_of(&pool, &unit).await, json!("done"));
}

#[tokio::test]
async fn what_is_not_the_codes_fault_is_missing_and_not_failed() {
    let fine = unit("def run(i): return 1");
    let call = async |sandbox: Arc<dyn Sandbox>, python: Option<&str>, unit: &Arc<CodeUnit>| {
        let python = Interpreter::new(python.map(Into::into), "/nowhere".into());
        let pool = PythonPool::new(sandbox, Arc::new(python), PythonConfig::default());
        pool.call(unit, &json!({}), LONG).await.unwrap_err()
    };
    let mut none = config();
    none.bwrap = None;
    let none = Arc::new(ProcessSandbox::new(none));
    let tiny = Arc::new(CodeUnit::new(
        "a.py",
        "run",
        files(&[("a.py", "")]),
        3 << 20,
    ));
    let python = Some("/usr/bin/python3");
    let cases = [
        (
            call(sandbox(), None, &fine).await,
            true,
            "there is no python3",
        ),
        (
            call(sandbox(), Some("/bin/false"), &fine).await,
            true,
            "no usable Python",
        ),
        (
            call(sandbox(), Some("/nowhere/python"), &fine).await,
            true,
            "No such file",
        ),
        (call(none, python, &fine).await, true, "install bubblewrap"),
        (
            call(sandbox(), python, &tiny).await,
            false,
            "Python did not start",
        ),
    ];
    for (error, person, wanted) in cases {
        let CodeError::Unavailable {
            message,
            configuration,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(*configuration, person, "{error}");
        assert!(message.contains(wanted), "{error}");
        assert_eq!(error.reason(), "CODE_UNAVAILABLE");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_calls_go_through_two_workers_and_no_more() {
    let text = "
import os, time
name = os.urandom(8).hex()
def run(inputs):
    began = time.monotonic()
    return [inputs['at'], name, began, time.monotonic()]
";
    let (pool, unit) = (Arc::new(pool()), unit(text));
    let calls = (0..500).map(|at| {
        let (pool, unit) = (Arc::clone(&pool), Arc::clone(&unit));
        tokio::spawn(async move {
            let reply = pool.call(&unit, &json!({"at": at}), LONG).await.unwrap();
            assert_eq!(reply.output[0], json!(at));
            reply.output
        })
    });
    let mut names = BTreeSet::new();
    let mut times = Vec::new();
    for output in futures::future::join_all(calls).await {
        let output = output.unwrap();
        names.insert(output[1].as_str().unwrap().to_owned());
        times.push((output[2].as_f64().unwrap(), 1));
        times.push((output[3].as_f64().unwrap(), -1));
    }
    assert!(names.len() <= 2, "{names:?}");
    times.sort_by(|one, two| one.partial_cmp(two).unwrap());
    let mut running = 0;
    for (_, change) in times {
        running += change;
        assert!(running <= 2);
    }
}

#[tokio::test]
async fn the_least_recently_used_idle_worker_makes_room() {
    let pool = pool();
    let named = |number: u32| unit(&format!("{NAMED}# {number}"));
    let (a, b, c) = (named(1), named(2), named(3));
    let first = worker_of(&pool, &a).await;
    let second = worker_of(&pool, &b).await;
    assert_eq!(worker_of(&pool, &a).await, first);
    // a third unit: the second is the one that was not used for longest
    let third = worker_of(&pool, &c).await;
    assert_eq!(worker_of(&pool, &a).await, first);
    assert_ne!(worker_of(&pool, &b).await, second);
    assert_ne!(worker_of(&pool, &c).await, third);
}

#[tokio::test]
async fn a_worker_that_has_worked_long_is_replaced_in_time() {
    let text = format!(
        "{NAMED}
import time
def run(inputs):
    while time.process_time() < 0.6: pass
    return name"
    );
    let (pool, unit) = (pool_with(|config| config.cpu_seconds = 1), unit(&text));
    assert_ne!(worker_of(&pool, &unit).await, worker_of(&pool, &unit).await);
}

#[tokio::test]
async fn workers_run_without_namespaces_too() {
    let pool = PythonPool::new(unconfined(), interpreter(), PythonConfig::default());
    let text =
        "import os, fapo\ndef run(i): return [fapo.get('a'), os.path.exists('steps/clean.py')]";
    let reply = pool
        .call(&unit(text), &json!({"a": 1}), LONG)
        .await
        .unwrap();
    assert_eq!(reply.output, json!([1, true]));
}

#[tokio::test]
async fn a_virtual_environment_is_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (program, _) = interpreter().describe().await.unwrap();
    let made = std::process::Command::new(program)
        .args(["-m", "venv", "--without-pip"])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(made.success());
    let lib = std::fs::read_dir(folder.path().join("lib"))
        .unwrap()
        .next()
        .unwrap();
    let package = lib.unwrap().path().join("site-packages/only_here.py");
    std::fs::write(package, "VALUE = 'from the environment'").unwrap();
    let python = Interpreter::new(Some(folder.path().join("bin/python")), "".into());
    let pool = PythonPool::new(sandbox(), Arc::new(python), PythonConfig::default());
    let unit = unit("import only_here\ndef run(i): return only_here.VALUE");
    assert_eq!(worker_of(&pool, &unit).await, json!("from the environment"));
}
