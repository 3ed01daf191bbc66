//! What a process can read and write.

use fapo_domain::error::chain;
use fapo_domain::ports::sandbox::{Mount, Sandbox};
use fapo_sandbox::ProcessSandbox;

use crate::support::*;

#[tokio::test]
async fn a_writable_mount_can_be_written_and_nothing_else() {
    let (work, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(other.path().join("shown"), "as it was").unwrap();
    std::os::unix::fs::symlink(other.path(), work.path().join("way-out")).unwrap();
    let script = format!(
        "echo a > /work/new || exit 1
         for path in {other}/x ../x /x /work/../x /work/way-out/x /shown/shown /shown/x /usr/x /etc/x /etc/passwd /dev/x \
                     /run/fapo/x /run/fapo/init /proc/sys/kernel/core_pattern /proc/self/oom_score_adj /proc/x; do
             (echo b > $path) 2>/dev/null && echo written: $path
             rm -f $path 2>/dev/null && test -e $path && echo gone: $path
         done
         ln -s /shown/shown /work/link && (echo b > /work/link) 2>/dev/null && echo written through a link
         echo c > /tmp/mine && cat /tmp/mine",
        other = other.path().display()
    );
    let mut spec = at_work(shell(&script), work.path());
    spec.read_only.push(Mount {
        host: other.path().into(),
        inside: "/shown".into(),
    });
    let ran = run(&*sandbox(), spec).await;
    assert_eq!((ran.exit, &*ran.stdout), (GOOD, "c\n"), "{}", ran.stderr);
    assert_eq!(
        std::fs::read_to_string(work.path().join("new")).unwrap(),
        "a\n"
    );
    assert_eq!(
        std::fs::read_to_string(other.path().join("shown")).unwrap(),
        "as it was"
    );
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1);
    assert!(!std::path::Path::new("/tmp/mine").exists());
}

#[tokio::test]
async fn nothing_of_the_host_can_be_read_but_what_is_shown() {
    let (work, secret) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = secret.path().join("secret");
    std::fs::write(&file, "the secret").unwrap();
    std::os::unix::fs::symlink(&file, work.path().join("link")).unwrap();
    let home = home();
    let script = format!(
        "cat {file} /work/link /proc/1/root{file} /etc/shadow /etc/hostname /work/../..{file} 2>/dev/null
         ls -A {home} /root /home /var /srv /mnt /sys 2>/dev/null | grep -v : | grep .
         ls -A /tmp
         cut -d: -f1 /etc/passwd",
        file = file.display(),
        home = home
    );
    let ran = run(&*sandbox(), at_work(shell(&script), work.path())).await;
    assert_eq!((ran.exit, &*ran.stdout), (GOOD, "fapo\nnobody\n"));
}

#[tokio::test]
async fn mounts_lie_within_each_other_whatever_their_order() {
    let (outer, inner) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(outer.path().join("pipeline")).unwrap();
    let mut spec = shell("echo a > pipeline/new; echo b > new; ls");
    spec.cwd = "/work".into();
    spec.writable.push(Mount {
        host: inner.path().into(),
        inside: "/work/pipeline".into(),
    });
    spec.read_only.push(Mount {
        host: outer.path().into(),
        inside: "/work".into(),
    });
    let ran = run(&*sandbox(), spec).await;
    assert_eq!(ran.stdout, "pipeline\n");
    assert!(inner.path().join("new").exists());
    assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let sandbox = sandbox();
    let mut missing = shell("true");
    missing.read_only.push(Mount::same("/nowhere/at/all"));
    let mut upward = shell("true");
    upward.writable.push(Mount {
        host: "/tmp".into(),
        inside: "/work/../usr".into(),
    });
    let mut folder = shell("true");
    folder.cwd = "/nowhere".into();
    let mut under = shell("true");
    under.writable.push(Mount {
        host: "/tmp".into(),
        inside: "/usr/not/there".into(),
    });
    let cases = [
        (spec("/usr/bin/no-such-program", &[]), "no such program"),
        (spec("/etc/passwd", &[]), "may not be executed"),
        (missing, "/nowhere/at/all cannot be shown"),
        (upward, "is not an absolute path"),
        (folder, "its folder /nowhere is not there"),
        (under, "bwrap: Can't mkdir"),
    ];
    for (spec, wanted) in cases {
        let error = sandbox.spawn(spec).await.err().unwrap();
        let text = fapo_domain::error::chain(&error);
        assert!(text.contains(wanted), "{text}");
    }
}

/// A folder below `/usr` that is on every machine, and a folder within it.
fn within_the_system() -> (std::path::PathBuf, std::path::PathBuf) {
    let hidden = std::fs::canonicalize("/usr/share").unwrap();
    let inner = std::fs::read_dir(&hidden).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let is_full = path.is_dir() && !path.is_symlink() && path.read_dir().unwrap().count() > 0;
        is_full.then_some(path)
    });
    (hidden, inner.unwrap())
}

#[tokio::test]
async fn a_hidden_folder_within_a_shown_one_cannot_be_read_and_the_rest_can() {
    let (hidden, inner) = within_the_system();
    let list = format!(
        "ls -A {}; test -x /usr/bin/env && echo the rest",
        hidden.display()
    );
    let open = run(&*sandbox(), shell(&list)).await;
    assert!(open.stdout.lines().count() > 1, "{}", open.stderr);

    let mut config = config();
    config.hidden = vec![hidden.clone()];
    let sandbox = ProcessSandbox::new(config);
    let script = format!(
        "{list}; (echo a > {}/new) 2>/dev/null && echo written",
        hidden.display()
    );
    let ran = run(&sandbox, shell(&script)).await;
    assert_eq!(ran.stdout, "the rest\n", "{}", ran.stderr);

    // what is shown by name is seen, and it alone
    let mut shown = shell(&format!(
        "{list}; ls -A {} | grep -q . && echo shown",
        inner.display()
    ));
    shown.read_only.push(Mount::same(&inner));
    let ran = run(&sandbox, shown).await;
    let name = inner.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        ran.stdout,
        format!("{name}\nthe rest\nshown\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_mount_around_a_hidden_folder_is_refused_with_advice() {
    let outer = tempfile::tempdir().unwrap();
    let project = outer.path().canonicalize().unwrap().join("project");
    std::fs::create_dir(&project).unwrap();
    let mut config = config();
    config.hidden = vec![project];
    let mut spec = shell("true");
    spec.read_only.push(Mount::same(outer.path()));
    let error = ProcessSandbox::new(config).spawn(spec).await.err().unwrap();
    assert!(
        chain(&error).contains("move the project"),
        "{}",
        chain(&error)
    );
}
