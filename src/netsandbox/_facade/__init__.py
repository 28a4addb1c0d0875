"""The parts of `Sandbox`, by what they are about: documentation and delegation."""
