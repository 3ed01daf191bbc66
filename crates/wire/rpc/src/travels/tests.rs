use std::time::Duration;

use fapo_domain::error::chain;
use fapo_domain::{Classified, Retry};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::fault::status;

/// There and back.
fn round<E: Travels>(error: &E) -> E {
    E::arrived(Fault::read(&status(error), "http://server"))
}

fn cause() -> Box<dyn std::error::Error + Send + Sync> {
    "the disk is on fire".into()
}

fn store_errors() -> Vec<StoreError> {
    let (kind, id) = ("job", "17".to_owned());
    vec![
        StoreError::NotFound {
            kind,
            id: id.clone(),
        },
        StoreError::AlreadyExists {
            kind,
            id: id.clone(),
        },
        StoreError::VersionConflict { kind, id },
        StoreError::StaleLease {
            task: TaskId(ContentHash::of(b"task")),
        },
        StoreError::Invalid {
            message: "a score is in [0, 1]: ü".to_owned(),
        },
        StoreError::Unwritable {
            place: "store.db".to_owned(),
            source: cause(),
        },
        StoreError::Unavailable {
            operation: "read a job",
            source: cause(),
        },
        StoreError::Corrupt {
            operation: "read a job",
            source: cause(),
        },
    ]
}

#[test]
fn every_error_of_the_store_is_the_same_one_on_the_other_side() {
    for error in store_errors() {
        let back = round(&error);
        assert_eq!(back.reason(), error.reason());
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!((back.code(), back.retry()), (error.code(), error.retry()));
        // the cause stays where it happened
        assert!(!chain(&back).contains("fire"), "{}", chain(&back));
    }
}

#[test]
fn every_error_of_access_is_the_same_one_on_the_other_side() {
    let name = "ci".to_owned();
    for error in [
        AccessError::NoToken,
        AccessError::InvalidToken,
        AccessError::ExpiredToken { name: name.clone() },
        AccessError::Forbidden {
            name,
            role: Role::Viewer,
            needed: Role::Admin,
        },
    ] {
        assert_eq!(round(&error), error);
    }
}

fn problems(count: usize) -> Problems {
    let mut problems = Problems::new();
    for line in 0..count {
        problems.push(Problem {
            severity: if line + 1 == count {
                Severity::Error
            } else {
                Severity::Warning
            },
            rule: "unknown-step".into(),
            file: "pipeline/pipeline.yaml".to_owned(),
            line: Some(line as u64),
            column: None,
            path: Some("steps[2].prompt".to_owned()),
            message: "there is no such step".to_owned(),
            help: None,
        });
    }
    problems
}

#[test]
fn every_error_of_the_optimizer_is_the_same_one_on_the_other_side() {
    let message = "resume it first".to_owned();
    let mut errors = vec![
        OptimizerError::Access(AccessError::NoToken),
        OptimizerError::NotFound {
            kind: "job",
            id: "17".to_owned(),
        },
        OptimizerError::Invalid {
            field: "files[../x]".to_owned(),
            message: "it leaves the folder".to_owned(),
        },
        OptimizerError::Project(problems(2)),
        OptimizerError::MissingBlobs {
            missing: vec![ContentHash::of(b"a"), ContentHash::of(b"b")],
        },
        OptimizerError::RequestReused {
            request_id: "r 1".to_owned(),
        },
        OptimizerError::State {
            message: message.clone(),
        },
        OptimizerError::Models { message },
        OptimizerError::Queue(QueueError::Unavailable {
            operation: "push",
            source: cause(),
        }),
        OptimizerError::Queue(QueueError::Lost {
            token: "1-1".to_owned(),
        }),
    ];
    let stored = store_errors().into_iter();
    // what the store does not find is the optimizer's own `NotFound`
    errors.extend(stored.skip(1).map(OptimizerError::Store));
    for error in errors {
        let back = round(&error);
        assert_eq!(back.reason(), error.reason());
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!((back.code(), back.retry()), (error.code(), error.retry()));
        match (&back, &error) {
            (OptimizerError::Project(back), OptimizerError::Project(sent)) => {
                assert!(back.iter().all(|problem| sent.iter().any(|s| s == problem)));
                assert_eq!(back.len(), sent.len());
            }
            (
                OptimizerError::MissingBlobs { missing: back },
                OptimizerError::MissingBlobs { missing: sent },
            ) => assert_eq!(back, sent),
            _ => {}
        }
    }
}

#[test]
fn an_internal_error_says_only_where_it_is_written_down() {
    let error = OptimizerError::Internal {
        message: "the password is hunter2".to_owned(),
        source: Some(cause()),
    };
    let sent = status(&error);
    assert_eq!(sent.code(), Code::Internal);
    assert!(!format!("{sent:?}").contains("hunter2"), "{sent:?}");
    let back = round(&error);
    assert_eq!(back.reason(), "INTERNAL");
    assert!(back.to_string().contains("the server's log has it as "));
    let another = round(&error);
    assert_ne!(back.to_string(), another.to_string());
}

#[test]
fn details_stay_small_enough_for_a_header_and_say_what_is_left_out() {
    let many = OptimizerError::Project(problems(500));
    let sent = status(&many);
    assert!(sent.details().len() < 5000, "{}", sent.details().len());
    let OptimizerError::Project(told) = round(&many) else {
        panic!("another error came back");
    };
    assert!(told.has_errors(), "errors are told before warnings");
    assert!((2..500).contains(&told.len()));
    assert!(told.iter().any(|problem| problem.rule == "more-problems"));
    let missing: Vec<ContentHash> = (0..1000_u32)
        .map(|n| ContentHash::of(&n.to_le_bytes()))
        .collect();
    let sent = status(&OptimizerError::MissingBlobs { missing });
    assert!(sent.details().len() < 5000, "{}", sent.details().len());
    let long = StoreError::Invalid {
        message: "ü".repeat(10_000),
    };
    assert!(round(&long).to_string().len() <= 1024);
}

#[test]
fn what_is_no_answer_of_ours_is_a_server_that_cannot_be_reached() {
    for code in [Code::Unavailable, Code::Unknown, Code::Internal] {
        let fault = || Fault::read(&Status::new(code, "broken pipe"), "http://server");
        let error = StoreError::arrived(fault());
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(chain(&error).contains("http://server: broken pipe"));
        let error = OptimizerError::arrived(fault());
        assert_eq!(error.to_string(), "http://server cannot be reached");
        assert_eq!(error.reason(), "SERVER_UNREACHABLE");
        let error = WorkError::arrived(fault());
        assert_eq!(error.retry(), Retry::After(Duration::from_millis(500)));
    }
    // a proxy's page of another kind is not believed to be ours
    let mut details = tonic_types::ErrorDetails::new();
    let nothing = std::collections::HashMap::<String, String>::new();
    details.set_error_info("NOT_FOUND", "example.com", nothing);
    let foreign = Status::with_error_details(Code::Unavailable, "", details);
    let fault = Fault::read(&foreign, "http://server");
    assert!(fault.is_unreachable());
}
