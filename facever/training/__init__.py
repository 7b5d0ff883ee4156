"""Training: the loop, and what it is made of.

``fit`` is the loop. Each step it takes a batch, lets ``gradient_accumulation`` compute
the gradients, ``clipping`` shorten them and the optimiser move the parameters
(``optimiser``: parameter groups and AdamW) at the rate of a ``schedule``.
``weight_average`` follows the weights, ``log_lines`` makes the lines of the log,
``tensorboard`` shows them too, ``checkpoint`` saves and restores everything, and
``sigterm`` ends a run in good order. ``fine_tuning`` starts from other weights, and
``compiling`` hands the network to torch.compile.

Several processes train as one: ``distributed`` alone knows process groups,
``heads_across_processes`` computes the heads over the batch of all of them, and
``sliced_checkpoints`` joins the class vectors that they hold in slices.
"""
