//! hyper's client alone.

fn main() {
    weight::run(weight::client());
}
