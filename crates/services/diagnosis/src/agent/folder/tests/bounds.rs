//! How much is read back.

use super::*;

#[test]
fn more_files_than_a_variant_may_have_are_not_read() {
    let (_scratch, folder) = laid();
    for number in 0..MOST_FILES + 3 {
        std::fs::write(folder.pipeline().join(format!("f{number}")), "x").unwrap();
    }
    let gathered = Folder::gather(&folder.work()).unwrap();
    assert_eq!(gathered.tree.len(), MOST_FILES);
    assert!(
        gathered
            .refusals
            .iter()
            .all(|one| one.lint == Lint::TooLarge)
    );
    assert!(!gathered.refusals.is_empty());
}

#[test]
fn no_more_is_read_than_the_whole_may_be() {
    let (_scratch, folder) = laid();
    let most = (MOST_BYTES / MOST_FILE_BYTES) as usize;
    for number in 0..most + 4 {
        let file = std::fs::File::create(folder.pipeline().join(format!("f{number:02}"))).unwrap();
        file.set_len(MOST_FILE_BYTES).unwrap();
    }
    let gathered = Folder::gather(&folder.work()).unwrap();
    let read: u64 = gathered
        .tree
        .iter()
        .map(|(_, file)| file.len() as u64)
        .sum();
    // the small files come after, and find their place below the whole only where something is left
    assert_eq!(read, MOST_BYTES);
    assert_eq!(gathered.tree.len(), most);
    assert_eq!(gathered.refusals.len(), 6);
    for refusal in &gathered.refusals {
        assert_eq!(refusal.lint, Lint::TooLarge);
        assert!(refusal.message.ends_with("bytes in all"), "{refusal:?}");
    }
}

#[test]
fn a_folder_with_too_many_names_is_not_read() {
    let (_scratch, folder) = laid();
    let full = folder.pipeline().join("full");
    std::fs::create_dir(&full).unwrap();
    for number in 0..=MOST_NAMES {
        std::fs::create_dir(full.join(number.to_string())).unwrap();
    }
    let gathered = Folder::gather(&folder.work()).unwrap();
    assert_eq!(
        refusals(&gathered),
        vec![(Lint::TooLarge, "pipeline/full/")]
    );
    assert_eq!(gathered.tree.len(), 2);
}

#[test]
fn names_are_counted_over_all_folders() {
    let (_scratch, folder) = laid();
    for one in ["a", "b", "c"] {
        for number in 0..MOST_NAMES / 2 {
            let empty = folder.pipeline().join(format!("{one}/{number}"));
            std::fs::create_dir_all(empty).unwrap();
        }
    }
    let gathered = Folder::gather(&folder.work()).unwrap();
    assert_eq!(
        refusals(&gathered),
        vec![
            (Lint::TooLarge, "pipeline/b/"),
            (Lint::TooLarge, "pipeline/c/"),
        ]
    );
}
