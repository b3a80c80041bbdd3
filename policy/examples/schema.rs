//! Writes the JSON Schema of the filter's configuration: `make schema`.

fn main() {
    println!("{:#}", cartgate_policy::config::schema());
}
