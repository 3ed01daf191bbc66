//! New files, old files, other people's files, and places where no file can be.

use std::path::Path;
use std::sync::Arc;

use fapo_domain::error::chain;
use fapo_domain::ports::StoreError;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::variants::Variants;
use fapo_store::{SqliteStore, StoreOptions};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::sample;
use futures::future::try_join_all;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

pub(crate) async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, ManualClock::new(), StoreOptions::default()).await
}

async fn execute(path: &Path, sql: impl Into<String>) {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.into()))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_new_store_is_made_with_its_folder_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/store.db");
    let tree = sample::variant_tree("Say it.");
    let id = {
        let store = open(&path).await.unwrap();
        store.put_variant(&tree).await.unwrap()
    };
    for _ in 0..2 {
        let store = open(&path).await.unwrap();
        assert_eq!(store.get_variant(id).await.unwrap(), tree);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_new_file_at_once_and_all_may_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = Arc::new(folder.path().join("store.db"));
    let stores = try_join_all((0..6).map(|_| {
        let path = Arc::clone(&path);
        async move {
            tokio::spawn(async move { open(&path).await })
                .await
                .unwrap()
        }
    }))
    .await
    .unwrap();
    let writes = stores.iter().zip(0u32..).map(|(store, number)| async move {
        for n in 0..50 {
            let entry = sample::cache_entry(number * 100 + n);
            store.put_step(entry, None).await?;
        }
        Ok::<_, StoreError>(())
    });
    try_join_all(writes).await.unwrap();
    for number in 0..6 {
        for n in 0..50 {
            let entry = sample::cache_entry(number * 100 + n);
            let found = stores[0].get_step(entry.key, entry.fingerprint).await;
            assert!(found.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path).await.unwrap());
    execute(&path, "PRAGMA user_version = 99").await;
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }));
    let text = chain(&error);
    assert!(text.contains("newer fapo (schema 99"), "{text}");
    assert!(text.contains("update fapo"), "{text}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    execute(&path, "CREATE TABLE theirs (x)").await;
    let before = std::fs::read(&path).unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(
        chain(&error).contains("another program"),
        "{}",
        chain(&error)
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let text = "this is a diary, not a database\n".repeat(200);
    std::fs::write(&path, &text).unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // a folder where the file should be, a file where the folder should be, and a file system without files
    std::fs::create_dir(folder.path().join("store.db")).unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    for place in [
        folder.path().join("store.db"),
        folder.path().join("file/store.db"),
        Path::new("/proc/fapo/store.db").to_owned(),
    ] {
        let error = open(&place).await.unwrap_err();
        let StoreError::Unwritable { place: named, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*named, place.display().to_string());
    }
}

/// Where permissions do not bind the user (root), there is nothing to see here.
#[cfg(unix)]
#[tokio::test]
async fn a_read_only_folder_is_unwritable() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path).await.unwrap());
    let set = |mode| {
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let permissions = std::fs::Permissions::from_mode(mode & !0o111);
            std::fs::set_permissions(entry.unwrap().path(), permissions).unwrap();
        }
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path(), permissions).unwrap();
    };
    set(0o555);
    let binds = std::fs::write(folder.path().join("probe"), "x").is_err();
    let outcome = open(&path).await;
    set(0o755);
    if binds {
        assert!(
            matches!(outcome, Err(StoreError::Unwritable { .. })),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn every_table_of_the_schema_is_strict() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(open(&path).await.unwrap());
    let mut connection = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    let tables: Vec<(String, i64)> = sqlx::query_as(
        "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' \
         AND name NOT LIKE 'sqlite_%' ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() >= 20);
    for (name, strict) in tables {
        assert_eq!(strict, 1, "{name} takes values of any type");
    }
}

/// What it knows without a look-up it knows of its own entries only.
#[tokio::test(flavor = "multi_thread")]
async fn a_sole_writer_finds_what_an_earlier_process_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let alone = || async {
        let options = StoreOptions {
            sole_writer: true,
            ..StoreOptions::default()
        };
        SqliteStore::open(&path, ManualClock::new(), options)
            .await
            .unwrap()
    };
    let [before, after, never] = [0, 1, 2].map(sample::cache_entry);
    assert_eq!(before.fingerprint, after.fingerprint);
    alone().await.put_step(before.clone(), None).await.unwrap();
    let store = alone().await;
    store.put_step(after.clone(), None).await.unwrap();
    for (entry, there) in [(before, true), (after, true), (never, false)] {
        let found = store.get_step(entry.key, entry.fingerprint).await.unwrap();
        assert_eq!(found.is_some(), there);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_log_folded_the_file_alone_is_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).await.unwrap();
    let entry = sample::cache_entry(1);
    store.put_step(entry.clone(), None).await.unwrap();
    store.fold_log().await.unwrap();
    // the live store stays open, and its log is left behind
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let copied = open(&copy).await.unwrap();
    let found = copied.get_step(entry.key, entry.fingerprint).await.unwrap();
    assert_eq!(found, Some(entry.step));
    // and it goes on writing
    store.put_step(sample::cache_entry(2), None).await.unwrap();
}

/// A store as the first schema made it, with replies that were paid for.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_the_first_schema_is_brought_up_to_date_with_all_its_replies() {
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = (folder.path().join("new.db"), folder.path().join("old.db"));
    let entries: Vec<_> = (0..20).map(sample::cache_entry).collect();
    let store = open(&new).await.unwrap();
    for entry in &entries {
        store.put_step(entry.clone(), None).await.unwrap();
    }
    store.fold_log().await.unwrap();
    drop(store);
    execute(
        &old,
        include_str!("../../../../../migrations/sqlite/0001_first.sql"),
    )
    .await;
    let attach = format!(
        "ATTACH '{}' AS new; INSERT INTO step_cache SELECT * FROM new.step_cache; \
         INSERT INTO step_fingerprints SELECT * FROM new.step_fingerprints; \
         PRAGMA user_version = 1; PRAGMA application_id = 1717661807",
        new.display()
    );
    execute(&old, attach).await;
    let store = open(&old).await.unwrap();
    for entry in entries {
        let found = store.get_step(entry.key, entry.fingerprint).await.unwrap();
        assert_eq!(found, Some(entry.step));
    }
    let next = sample::cache_entry(99);
    store.put_step(next.clone(), None).await.unwrap();
    let found = store.get_step(next.key, next.fingerprint).await.unwrap();
    assert_eq!(found, Some(next.step));
}
