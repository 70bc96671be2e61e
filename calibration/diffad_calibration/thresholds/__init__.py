"""Where good ends: thresholds from good images alone, or from labelled ones, and what so few images can promise.

conformal        bounds, pure functions of counts
setting          both thresholds of a bundle; pixeltail: the pixel quantile, streamed
labelled         an image threshold between good and defective parts
normalscores     what drift is measured against
recalibrate      all of it anew on a device; freshframes, labelledfolder: the frames it looks at
"""
