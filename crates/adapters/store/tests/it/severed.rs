//! Connections to Postgres that are lost: before a commit, at it, and after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fapo_domain::MicroUsd;
use fapo_domain::money::SpendRole;
use fapo_domain::ports::blobs::Blobs;
use fapo_domain::ports::cache::StepCache;
use fapo_domain::ports::ledger::{Amount, Caps, Charge, Ledger, ReservationId};
use fapo_testkit::clock::ManualClock;
use fapo_testkit::sample;
use sqlx::Row;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::postgres::{connect, database, execute, open};

const WORST: Amount = Amount {
    cost: MicroUsd(100),
    model_calls: 1,
};

fn charge(cost: u64) -> Charge {
    let job = sample::job_id(1);
    Charge {
        job,
        reservation: ReservationId {
            task: sample::task_id(job, 1),
            epoch: 1,
        },
        role: SpendRole::Task,
        release: WORST,
        spent: sample::spend(cost),
        lost: Amount::default(),
        keep: false,
    }
}

/// Reserves and puts a step; the account must show each once.
async fn one_call(store: &fapo_store::PgStore) {
    let charge = charge(40);
    store
        .open_account(charge.job, Caps::default())
        .await
        .unwrap();
    store
        .reserve(charge.job, charge.reservation, WORST)
        .await
        .unwrap();
    let balance = store.balance(charge.job).await.unwrap();
    assert_eq!(balance.reserved, WORST);
    let entry = sample::cache_entry(1);
    store.put_step(entry.clone(), Some(charge)).await.unwrap();
    let balance = store.balance(charge.job).await.unwrap();
    assert_eq!(balance.reserved, Amount::default());
    assert_eq!(balance.spent, [(SpendRole::Task, sample::spend(40))]);
    let found = store.get_step(entry.key, entry.fingerprint).await.unwrap();
    assert_eq!(found, Some(entry.step));
}

/// As after a restart of the server: every connection of the pool is dead, and nobody has noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_connections_were_all_cut_goes_on() {
    let (store, _, database) = open().await.unwrap();
    let bytes: Arc<[u8]> = Arc::from(&b"something"[..]);
    for _ in 0..3 {
        let hashes = store.put_blobs(vec![Arc::clone(&bytes)]).await.unwrap();
        execute(
            &database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
        assert_eq!(
            store.get_blobs(&hashes).await.unwrap(),
            [Arc::clone(&bytes)]
        );
    }
    one_call(&store).await;
}

/// The server dies at the commit, which is rolled back: the group is applied again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_rolled_back_at_its_commit_is_applied_again() {
    let (store, _, database) = open().await.unwrap();
    // a sequence counts on in transactions that are rolled back, and so the next try is another number; asking what became of
    // the commit is one, too
    execute(
        &database,
        "CREATE SEQUENCE cuts; \
         CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('cuts') IN (1, 3) THEN \
         PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); END IF; RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER cut AFTER INSERT OR UPDATE ON writers DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION cut()",
    )
    .await;
    one_call(&store).await;
    let mut connection = database.connect().await.unwrap();
    let row = sqlx::query("SELECT last_value FROM cuts")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    // cut, asked, cut, asked, committed; and the commit of the put
    assert_eq!(row.get::<i64, _>(0), 6);
}

/// The commit stands, and its answer is swallowed: the group is not applied a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let database = database().await.unwrap();
    let proxy = Proxy::start(server_of(database.url())).await;
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/{}?sslmode=disable",
        proxy.port,
        name_of(database.url())
    );
    let store = connect(&url, ManualClock::new()).await.unwrap();
    let charge = charge(40);
    store
        .open_account(charge.job, Caps::default())
        .await
        .unwrap();
    for spent in 1..=3 {
        for cut in [true, false] {
            proxy.cut_next_commit.store(cut, Ordering::SeqCst);
            store
                .reserve(charge.job, charge.reservation, WORST)
                .await
                .unwrap();
            let balance = store.balance(charge.job).await.unwrap();
            assert_eq!(balance.reserved, WORST);
            proxy.cut_next_commit.store(!cut, Ordering::SeqCst);
            store
                .put_step(sample::cache_entry(spent), Some(charge))
                .await
                .unwrap();
        }
        let balance = store.balance(charge.job).await.unwrap();
        assert_eq!(balance.reserved, Amount::default());
        assert_eq!(balance.total().cost, MicroUsd(u64::from(spent) * 80));
    }
    assert_eq!(proxy.cuts(), 6, "one of each two commits");
}

/// `host:port` of a URL.
fn server_of(url: &str) -> String {
    let rest = url.split_once("://").unwrap().1;
    let authority = rest.split('/').next().unwrap();
    authority.rsplit('@').next().unwrap().to_owned()
}

/// The database of a URL.
fn name_of(url: &str) -> String {
    let rest = url.split_once("://").unwrap().1;
    let path = rest.split_once('/').unwrap().1;
    path.split('?').next().unwrap().to_owned()
}

/// Passes bytes on to Postgres, and can swallow the answer to a commit.
struct Proxy {
    port: u16,
    cut_next_commit: Arc<AtomicBool>,
    cuts: Arc<std::sync::atomic::AtomicU32>,
}

impl Proxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            cut_next_commit: Arc::default(),
            cuts: Arc::default(),
        };
        let (cut, cuts) = (Arc::clone(&proxy.cut_next_commit), Arc::clone(&proxy.cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass_on(client, server, Arc::clone(&cut), Arc::clone(&cuts)));
            }
        });
        proxy
    }

    fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }
}

async fn pass_on(
    mut client: TcpStream,
    mut server: TcpStream,
    cut: Arc<AtomicBool>,
    cuts: Arc<std::sync::atomic::AtomicU32>,
) {
    let (mut asked, mut answered) = ([0; 65_536], [0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                if server.write_all(&asked[..length]).await.is_err() {
                    return;
                }
                let is_commit = asked[..length].windows(6).any(|window| window == b"COMMIT");
                if is_commit && cut.swap(false, Ordering::SeqCst) {
                    // once the server has answered, the commit stands
                    let _ = server.read(&mut answered).await;
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
