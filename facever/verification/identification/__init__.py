"""Who is on a photo, among many people or nobody?

``gallery_search`` searches a list of enrolled photos for probes (CMC, TPIR at FPIR),
``blufr`` does so in LFW's ten BLUFR trials, and ``leave_one_out`` looks up each photo
of a gallery among all others, which is what a gallery's threshold is chosen by.
"""
