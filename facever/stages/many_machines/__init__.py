"""Photos to crops, embeddings and a gallery, in shards that many machines share."""
