"""What we guess: latency and accuracy of architectures, each guess with its stated error."""
