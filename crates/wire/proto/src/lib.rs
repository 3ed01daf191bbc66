//! The generated code of the protos, nothing else.
