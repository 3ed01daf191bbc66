//! What a process can read and write.

use fapo_domain::ports::sandbox::{Mount, Sandbox};

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
