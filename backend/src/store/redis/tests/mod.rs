//! What is special about the store on Redis, against real servers. What it has in common with
//! others is in `store/conformance`.
