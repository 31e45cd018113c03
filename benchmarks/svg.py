def plot(results, order):
    return ""
