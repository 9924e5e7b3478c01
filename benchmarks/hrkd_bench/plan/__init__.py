"""Before distilling: which student fits a budget, from shapes without training. After it: was that right?"""
