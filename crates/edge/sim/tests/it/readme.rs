//! The README's example is a world, and it behaves as the README says.

use crate::Sim;

#[tokio::test]
async fn the_example_of_the_readme_works() {
    let readme = include_str!("../../README.md");
    let start = readme.find("```json\n").unwrap() + "```json\n".len();
    let end = start + readme[start..].find("\n```").unwrap();
    let sim = Sim::start_text(&readme[start..end]).await;

    let passages = "Passages: The Larkspur Observatory was founded by Ines Kolb.";
    let question = "Where was the founder of the Larkspur Observatory born?";
    let lost = sim.ask(&format!("{passages}\n{question}")).await;
    assert_eq!(lost, "Based on the passages, the answer is unknown.");
    let query = sim
        .ask(&format!("Write a search query.\n{passages}\n{question}"))
        .await;
    assert_eq!(query, "Ines Kolb birthplace");
    let found = sim
        .ask(&format!(
            "{passages} Ines Kolb was born in Trieste. Reply with only the answer.\n{question}"
        ))
        .await;
    assert_eq!(found, "Trieste");
    assert_eq!(
        sim.ask("Ticket: my parcel is late\nCategory:").await,
        "Based on the passages, the answer is a delivery problem."
    );
    assert_eq!(
        sim.ask(
            "Categories: DELIVERY, PAYMENT. Only the answer.\nTicket: card declined\nCategory:"
        )
        .await,
        "PAYMENT"
    );
}
