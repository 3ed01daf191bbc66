//! The generated code of the protos (`proto/fapo/<service>/v1`), nothing else: messages, clients and servers, and the
//! descriptors that reflection answers from. `fapo-rpc` turns them into the ports and back.

macro_rules! package {
    ($service:ident, $package:literal, $about:literal $(, $lint:path)?) => {
        #[doc = $about]
        pub mod $service {
            /// Version 1.
            $(#[expect($lint, reason = "generated code brings its own attributes")])?
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(
    common,
    "fapo.common.v1",
    "Messages that the services share."
);
package!(
    executor,
    "fapo.executor.v1",
    "Runs pipelines.",
    clippy::allow_attributes
);
package!(
    traces,
    "fapo.traces.v1",
    "Stored runs.",
    clippy::allow_attributes
);
package!(
    scoring,
    "fapo.scoring.v1",
    "Scores and comparisons.",
    clippy::allow_attributes
);
package!(
    diagnosis,
    "fapo.diagnosis.v1",
    "Findings and sessions.",
    clippy::allow_attributes
);
package!(
    optimizer,
    "fapo.optimizer.v1",
    "Jobs.",
    clippy::allow_attributes
);

/// All files, with their comments, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fapo_descriptor.bin"));
